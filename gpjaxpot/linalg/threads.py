"""Threads of our own for products of matrices that follow each other, in place of the library's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_info, threadpool_limits

from gpjaxpot.devices import available_cores


@contextmanager
def own_threads() -> Iterator[ThreadPoolExecutor]:
    """A thread of ours for each one of the library's, whose threads would wait for each other at every small product.

    They were a fifth slower, and twenty times where another program has one of two cores.
    """
    threads = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(threads, available_cores())) as pool:
        yield pool
