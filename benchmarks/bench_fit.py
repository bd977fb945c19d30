"""Fit of silicon against gap_fit: time on one core, peak memory, test errors of both.

python -m benchmarks.bench_fit [--data FOLDER] [--gap-model GAP.xml --gap-seconds S]

gap_fit runs for a quarter of an hour: a model that it made before is taken instead if named, with
the seconds that it took then.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from benchmarks.inputs import BUILD, CONFIG, data_set, parser
from benchmarks.machine import ROOT, write_result
from benchmarks.our_fit import run_our_fit
from benchmarks.peers.gap_fit import run_gap_fit
from benchmarks.peers.quippy_process import one_shot
from benchmarks.table import table

MODEL = BUILD / "si_mlearn.gpj"
GAP = BUILD / "gap"
ERRORS = (
    "energy_mae_meV_per_atom",
    "energy_rmse_meV_per_atom",
    "forces_mae_eV_per_A",
    "forces_rmse_eV_per_A",
)
EVALUATE = """
import json, sys, jax
jax.config.update("jax_enable_x64", True)
import gpjaxpot as gp
potential = gp.Potential.load(sys.argv[1])
scores = gp.evaluate(potential, gp.read(sys.argv[2]))
print(json.dumps({"errors": scores, "summary": potential.summary()}, default=float))
"""


def our_scores(model: Path, test: Path) -> dict[str, Any]:
    """What `gpjaxpot.evaluate` and the model say of themselves, from a process of their own."""
    command = [sys.executable, "-c", EVALUATE, str(model), str(test)]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def gap_record(given: argparse.Namespace, config: dict[str, Any], train: Path) -> dict[str, Any]:
    """gap_fit's seconds and memory: measured now, or those of the model that was named."""
    if given.gap_model is None:
        return run_gap_fit(config, train, GAP, given.core) | {"measured": "in this run"}
    return {
        "seconds": given.gap_seconds,
        "processor_seconds": given.gap_processor_seconds,
        "peak_memory_GB": given.gap_memory,
        "measured": "in an earlier run on the same machine",
    }


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--gap-model", type=Path, help="a model that gap_fit made of these data")
    options.add_argument("--gap-seconds", type=float, help="wall seconds that it took")
    options.add_argument("--gap-processor-seconds", type=float, help="processor seconds")
    options.add_argument("--gap-memory", type=float, help="peak memory in GB")
    given = options.parse_args()
    folder = data_set(given.data, "Si_mlearn")
    if folder is None:
        return 0
    config = tomllib.loads(CONFIG.read_text())
    print("fitting with gpjaxpot", flush=True)
    ours = run_our_fit(CONFIG, folder / "train.xyz", MODEL, given.core)
    scores = our_scores(MODEL, folder / "test.xyz")
    print("fitting with gap_fit" if given.gap_model is None else "testing GAP", flush=True)
    gap = gap_record(given, config, folder / "train.xyz")
    model = given.gap_model or GAP / "gap.xml"
    gap_errors = one_shot(model.resolve(), "--evaluate", str(folder / "test.xyz"))
    rows = [[key, ours[key], gap[key]] for key in ("seconds", "processor_seconds")]
    rows += [["peak_memory_GB", ours["peak_memory_GB"], gap["peak_memory_GB"]]]
    rows += [[key, scores["errors"][key], gap_errors[key]] for key in ERRORS]
    quotients = [None if None in row[1:] else row[1] / row[2] for row in rows]
    print(
        table(
            ["Si_mlearn, M = 1000", "gpjaxpot", "gap_fit", "ratio"],
            [[*row, quotient] for row, quotient in zip(rows, quotients, strict=True)],
        )
    )
    result = {
        "gpjaxpot": ours | {key: scores["errors"][key] for key in ERRORS},
        "gap_fit": gap | gap_errors,
        "ratios": {row[0]: quotient for row, quotient in zip(rows, quotients, strict=True)},
        "uncertainty": scores["errors"]["uncertainty"],
        "choices": scores["summary"]["choices"],
    }
    print(f"wrote {write_result('fit', result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
