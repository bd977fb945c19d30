"""Test errors and uncertainties of fits with default settings on the public data sets.

python -m benchmarks.bench_accuracy [--data FOLDER] [--sets Si_mlearn acac] [--structures 1000]
                                    [--seconds 900] [--test-structures 200] [--memory GB]
"""

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.inputs import SHIFTED
from benchmarks.sets import fits_parser, for_each_set
from benchmarks.table import table

SETS = (
    "Si_mlearn",
    "Li_mlearn",
    "Cu_mlearn",
    "acac",
    "3BPA",
    "TiAl",
    "TiO2",
    "LiPS",
    "LiCl_small",
    "Pt111_CO",
    "water",
    "rmd17_aspirin",
    "rmd17_malonaldehyde",
)
ERRORS = (
    "energy_mae_meV_per_atom",
    "energy_rmse_meV_per_atom",
    "forces_mae_eV_per_A",
    "forces_rmse_eV_per_A",
    "stress_mae_GPa",
)


def subset(frames: list, count: int, seed: int = 0) -> list:
    """At most `count` of the frames, drawn at random; isolated atoms always stay."""
    import numpy as np

    bound = [frame for frame in frames if not frame.isolated]
    order = np.random.default_rng(seed).permutation(len(bound))[:count]
    return [frame for frame in frames if frame.isolated] + [bound[i] for i in sorted(order)]


def parts(folder: Path, structures: int, tested: int) -> tuple[list, list]:
    """At most so many structures to train on, isolated atoms besides, and to test on."""
    import gpjaxpot as gp

    isolated = folder / "isolated_atoms.xyz"
    files = [folder / "train.xyz", *([isolated] if isolated.exists() else [])]
    return subset(gp.read(*files), structures), subset(gp.read(folder / "test.xyz"), tested)


def train_and_test(
    folder: Path, structures: int, tested: int, seconds: float, seed: int = 0, memory: float | None = None
) -> dict[str, Any]:
    """Fits by default settings and evaluates: errors, uncertainties, choices and seconds.

    `seed` is that of the fit's own choices; the structures are the same for all.  `memory` (GB) is what it may take.
    """
    import gpjaxpot as gp

    frames, test = parts(folder, structures, tested)
    others = {name: folder / file for name, file in SHIFTED.get(folder.name, {}).items() if (folder / file).exists()}
    wanted = [f"model.time={seconds}", f"train.seed={seed}", *([] if memory is None else [f"model.memory={memory}"])]
    settings = gp.load_settings(None, wanted)
    start = time.perf_counter()
    potential = gp.fit(frames, settings=settings)
    fitted = time.perf_counter()
    scores = gp.evaluate(potential, test)
    evaluated = time.perf_counter()
    shifted = {name: gp.evaluate(potential, subset(gp.read(file), tested)) for name, file in others.items()}
    summary = potential.summary()
    return {
        "n_train": len(frames),
        "n_test": len(test),
        "method": summary["method"],
        "n_inducing": summary["n_inducing"],
        "fit_seconds": fitted - start,
        "evaluate_seconds": evaluated - fitted,
        **errors_and_spreads(scores),
        "shifted": {name: errors_and_spreads(found) for name, found in shifted.items()},
        "choices": summary["choices"],
    }


def errors_and_spreads(scores: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an evaluation: errors, and scores of raw and of calibrated uncertainties."""
    raw = scores["uncertainty_raw"] or scores["uncertainty"]
    calibrated = scores["uncertainty"] if scores["calibration"] else None
    return {**{key: scores[key] for key in ERRORS}, "uncertainty": raw, "calibrated": calibrated}


def row(name: str, result: dict[str, Any]) -> list[object]:
    """A line of the table."""
    uncertain = result["uncertainty"]
    energy, forces = uncertain["energy"] or {}, uncertain["forces"] or {}
    return [
        name,
        result["n_train"],
        result["n_inducing"] or result["method"],
        *(result[key] for key in ERRORS),
        *(block.get("z_variance") for block in (energy, forces)),
        *(coverage(block) for block in (energy, forces)),
        result["fit_seconds"],
    ]


def coverage(block: dict[str, Any]) -> float | None:
    """The share of errors within the interval that should hold nine in ten."""
    shares = block.get("coverage") or {}
    return next((share for level, share in shares.items() if float(level) == 0.9), None)


def main() -> int:
    """The command line of this module."""
    parser = fits_parser(__doc__, SETS, 1000, 900.0, "accuracy")
    parser.add_argument("--memory", type=float, help="GB that a fit may take; half of what is free if it is not given")
    given = parser.parse_args()
    sizes = given.structures, given.test_structures, given.seconds
    result = for_each_set(given, lambda _, folder: train_and_test(folder, *sizes, memory=given.memory))
    headings = ["set", "structures", "inducing", "E MAE meV/atom", "RMSE", "F MAE eV/Å", "RMSE",
                "stress MAE GPa", "E z var", "F z var", "E in 90 %", "F in 90 %",
                "fit s"]  # fmt: skip
    rows = []
    for name, found in result.items():
        rows.append(row(name, found))
        rows += [row(f"{name}, {shift}", found | other) for shift, other in found["shifted"].items()]
    if rows:
        print(table(headings, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
