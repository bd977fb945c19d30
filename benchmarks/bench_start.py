"""The first answer of a fresh process: `gpjaxpot predict` of 64 silicon atoms, from command to file.

python -m benchmarks.bench_start [--data FOLDER] [--model OURS] [--rounds 5]

Everything is counted that a person waits for: the start of Python, imports, the model's file, neighbour lists,
compilation, and the file that is written.  The first process of each kind finds an empty folder of compiled programs,
those after it what the first has left, and other positions each.  The model is that of the benchmark of the fit;
without it, one is fitted.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ase.io import write

from benchmarks.bench_fit import MODEL
from benchmarks.inputs import CONFIG, data_set, moved, parser, silicon
from benchmarks.machine import ROOT, write_result
from benchmarks.our_fit import run_our_fit
from benchmarks.table import table
from benchmarks.timing import ONE_THREAD, run_alone

# The command of this environment.
COMMAND = Path(sys.executable).with_name("gpjaxpot")
KINDS: dict[str, tuple[str, ...]] = {
    "energy, forces, stress and σ of all": (),
    "energy, forces and stress": ("--no-uncertainty",),
}


def starts(model: Path, options: tuple[str, ...], rounds: int, core: int) -> dict[str, Any]:
    """Seconds of one process with nothing kept, and of `rounds` after it; the peak memory in GB of them all."""
    generator = np.random.default_rng(0)
    crystal = silicon(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shown, predicted, kept = folder / "atoms.xyz", folder / "predicted.xyz", folder / "cache"
        # The user's own folder of compiled programs is neither read nor filled.
        environment = os.environ | ONE_THREAD | {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(kept)}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        records = []
        with (folder / "messages").open("w") as messages:
            for _ in range(rounds + 1):
                write(shown, moved(crystal, generator))
                command = [COMMAND, "predict", model, shown, "--output", predicted, *options]
                records.append(run_alone(command, ROOT, core, environment, messages))
    seconds = [record["seconds"] for record in records]
    return {
        "nothing_kept": seconds[0],
        "kept": {"min": min(seconds[1:]), "median": statistics.median(seconds[1:])},
        "peak_memory_GB": max(record["peak_memory_GB"] for record in records),
    }


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--model", type=Path, default=MODEL, help="a potential of ours")
    options.add_argument("--rounds", type=int, default=5, help="processes that find compiled programs")
    given = options.parse_args()
    if not given.model.exists():
        folder = data_set(given.data, "Si_mlearn")
        if folder is None:
            return 0
        run_our_fit(CONFIG, folder / "train.xyz", given.model, given.core)
    result = {kind: starts(given.model.resolve(), flags, given.rounds, given.core) for kind, flags in KINDS.items()}
    rows = [
        [kind, of["nothing_kept"], of["kept"]["min"], of["kept"]["median"], of["peak_memory_GB"]]
        for kind, of in result.items()
    ]
    print(table(["seconds of a process", "nothing kept", "kept, min", "median", "GB"], rows))
    print(f"wrote {write_result('start', {'atoms': 64, 'rounds': given.rounds, 'processes': result})}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
