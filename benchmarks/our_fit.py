"""Our fit with a config file, as a process of its own whose time and memory are measured.

python -m benchmarks.our_fit CONFIG.toml TRAIN.xyz MODEL [--core N] fits, leaves the model and its
record MODEL.json, and prints the latter.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.timing import ONE_THREAD, run_alone

FIT = """
import sys, jax
from pathlib import Path
jax.config.update("jax_enable_x64", True)
import gpjaxpot as gp
config, train, model = map(Path, sys.argv[1:])
gp.fit(gp.read(train), settings=gp.load_settings(config)).save(model)
"""


def run_our_fit(config: Path, train: Path, model: Path, core: int | None = None) -> dict[str, Any]:
    """Fits, and returns the measured record: seconds, processor seconds and peak memory.

    One thread, bound to `core` where one is given. The start of Python, the compilation, which no
    cache spares, and the writing of the model are in the time: it is what a person waits for.

    Raises:
        RuntimeError: if the fit fails; it has said why.
    """
    model.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | ONE_THREAD | {"JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-c", FIT, config.resolve(), train.resolve(), model]
    record = run_alone(command, ROOT, core, environment)
    model.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    return record


def main() -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.our_fit", description=__doc__)
    parser.add_argument("config", type=Path, help="TOML file")
    parser.add_argument("train", type=Path, help="extended XYZ file with energy and forces")
    parser.add_argument("model", type=Path, help="where the model goes")
    parser.add_argument("--core", type=int, help="bind to this core")
    given = parser.parse_args()
    record = run_our_fit(given.config, given.train, given.model.resolve(), given.core)
    print(json.dumps(record, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
