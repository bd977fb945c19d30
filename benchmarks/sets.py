"""The loop over data sets that benchmarks share."""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.inputs import data_sets, parser
from benchmarks.machine import write_result


def fits_parser(
    description: str | None, sets: Sequence[str], structures: int, seconds: float, name: str
) -> argparse.ArgumentParser:
    """The options of a benchmark that fits to data sets and tests, with its own values where none are given."""
    options = parser(description)
    options.add_argument("--sets", nargs="+", default=sets, metavar="NAME", help="data sets")
    options.add_argument("--structures", type=int, default=structures, help="training structures at most")
    options.add_argument("--test-structures", type=int, default=200, help="test structures at most")
    options.add_argument("--seconds", type=float, default=seconds, help="that a fit may take")
    options.add_argument("--name", default=name, help="of the file under results/")
    return options


def for_each_set(
    given: argparse.Namespace, run: Callable[[str, Path], dict[str, Any] | None]
) -> dict[str, dict[str, Any]]:
    """What `run(name, folder)` finds of each set in `given.sets` that is there; None leaves a set out.

    Results are written to results/`given.name`.json after each set: hours of fits are not lost with the last one.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    result, written = {}, None
    for name, folder in data_sets(given.data, given.sets):
        jax.clear_caches()  # the programs of all sets together run into the limit of memory maps
        print(f"{name}: begun", flush=True)
        start = time.perf_counter()
        found = run(name, folder)
        if found is not None:
            result[name] = found
            print(f"{name}: done in {time.perf_counter() - start:.0f} s", flush=True)
            written = write_result(given.name, {"limits": vars(given), "sets": result})
    if written is not None:
        print(f"wrote {written}")
    return result
