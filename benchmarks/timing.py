"""Fair times of rivals: one core, in turn, in one run."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

# Read by the numerical libraries when they start: set before they are imported.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}


# What rivals of one thread each may be timed by. Processor seconds leave out the time that other
# programs have on the core: on a machine that is shared, they are the fairer ones.
CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "processor": time.process_time,
}


def pin(core: int) -> bool:
    """Binds this process, and those it starts, to one core; False where the system cannot.

    JAX sizes its pool of threads by the cores that it sees when it starts: pin before importing it.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, {core})
    os.environ.update(ONE_THREAD)
    return True


def run_alone(
    command: Sequence[str | Path],
    folder: Path,
    core: int | None = None,
    environment: Mapping[str, str] | None = None,
    output: IO[str] | None = None,
) -> dict[str, float]:
    """Runs a program of one thread to its end: seconds, processor seconds and peak memory.

    It is bound to `core` where one is given; nothing is left out of the time, which is what a person
    waits for.

    Raises:
        RuntimeError: if it ends with another status than 0.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=output,
        stderr=output,
        env=os.environ | ONE_THREAD if environment is None else environment,
        preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with status {process.returncode}")
    return {
        "seconds": seconds,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        # kilobytes on Linux
        "peak_memory_GB": usage.ru_maxrss / 1e6,
    }


def alternate(rivals: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Lets every rival run once a round, in turn, and keeps the seconds that each reports.

    Whatever else slows the machine then meets all of them. The order is reversed in every second
    round, so that none always finds the cache as the same other one left it. Before the first
    round each runs once unmeasured: what compiles, compiles then.
    """
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for run in rivals.values():
        run()
    for turn in range(rounds):
        order = list(rivals) if turn % 2 == 0 else list(reversed(rivals))
        for name in order:
            seconds[name].append(rivals[name]())
    return seconds


def ratios(rival: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """How many times longer `rival` takes: of the least seconds, and of the medians."""
    return {
        "min": min(rival) / min(ours),
        "median": statistics.median(rival) / statistics.median(ours),
    }


def per_atom(seconds: Sequence[float], atoms: int) -> dict[str, float]:
    """Microseconds per atom: the least, which noise can only raise, and the median."""
    return {
        "min": min(seconds) / atoms * 1e6,
        "median": statistics.median(seconds) / atoms * 1e6,
    }
