"""Calibrations on held-out structures of the public sets: set × strategy × score, in and out of distribution.

python -m benchmarks.bench_calibration [--data FOLDER] [--sets LiPS TiO2] [--structures 300] [--seconds 300]
python -m benchmarks.bench_calibration --again [--sets LiPS TiO2]

Fits take long: what they predicted is kept under build/, and --again calibrates and scores it anew.

Training structures are dealt into those that are fitted and those that calibrate, in runs of neighbours of one group;
the test file is looked at to report alone.  "left out" is what `fit` does by itself, on training structures; the
others are calibrated on the structures kept out.  "half of the test" is no calibration that one could have: it tells
how much of a wrong coverage is due to calibration and test not being exchangeable.
"""

import argparse
import pickle
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_accuracy import subset
from benchmarks.inputs import BUILD, SHIFTED, parser
from benchmarks.machine import RESULTS
from benchmarks.sets import for_each_set
from benchmarks.table import table

SETS = ("LiPS", "TiO2", "water", "3BPA", "Pt111_CO", "Si_mlearn", "Li_mlearn", "Cu_mlearn", "acac")
STRATEGIES = ("left out", "conformal", "class", "flexible")
LEVELS = (0.5, 0.68, 0.9, 0.95)
CALIBRATION = 0.3
# Errors that are to be found: of atoms, and root mean squares of structures, of which there are fewer.
LARGE = {"atoms": 0.05, "structures": 0.1}
LOOKED = np.concatenate([np.linspace(0.0, 0.2, 41), np.linspace(0.225, 1.0, 32)])
DRAWN = ("raw", "class", "flexible")
FINDERS = ("raw", "class", "flexible", "left out")


def scored(known: Sequence[Any], calibration: Any) -> dict[str, Any]:
    """Scores of forces (components, and vectors) and energies; `calibration` None for raw spreads."""
    from gpjaxpot.potential.force_scores import ForceScores
    from gpjaxpot.uncertainty import QuantileFunction, distribution_scores, oracle_spearman, share_interval, spearman

    quantiles: Mapping[str, Any] = {} if calibration is None else calibration.quantiles
    forces = ForceScores.of(known)
    if forces is None:
        raise SystemExit("these structures have no forces with uncertainties: leave the file out")
    factor = np.ones(len(forces.errors))
    if calibration is not None:
        factor, _ = calibration.environments(forces.vectors, forces.numbers, forces.spread)
    std = forces.stds * factor[:, None]
    size = np.linalg.norm(std, axis=1)
    length = np.linalg.norm(forces.errors, axis=1)
    part, solid = std > 0, forces.solid  # what symmetry makes certain has no score
    error, own = forces.errors[part], std[part]
    result: dict[str, Any] = {
        "forces": distribution_scores(error, own, quantiles.get("forces")),
        "spearman": spearman(size, length),
        "spearman_oracle": oracle_spearman(std),
        "retrieval": retrieval(size, length, forces.structure),
    }
    each = np.repeat(forces.structure[:, None], 3, axis=1)[part]
    normal, ball = QuantileFunction.gaussian(1.0), QuantileFunction.gaussian(1.0, directions=3)
    q = {"forces": quantiles.get("forces", normal), "vectors": quantiles.get("force_vectors", ball)}
    scores = {
        "forces": (np.abs(error / own), each, own),
        "vectors": ((forces.lengths / factor)[solid], forces.structure[solid], size[solid]),
    }
    energies = [(k.compared.energy_error, k.compared.energy_std) for k in known if k.compared.energy_error is not None]
    if energies:
        error, spread = np.array(energies).T
        result["energy"] = distribution_scores(error, spread, quantiles.get("energy"))
        q["energy"] = quantiles.get("energy", normal)
        scores["energy"] = (np.abs(error / spread), np.arange(len(error)), spread)
    cells = []
    for name, (z, groups, spread) in scores.items():
        for level in LEVELS:
            if not q[name].supports(level):
                cells.append({"of": name, "level": level, "supported": False})
                continue
            inside = z <= q[name].width(level)
            low, high = share_interval(inside, groups)
            cells.append(
                {"of": name, "level": level, "supported": True, "share": float(np.mean(inside)), "low": low,
                 "high": high, "holds": bool(low <= level <= high)}
            )  # fmt: skip
        top = np.argsort(-spread)[: max(1, len(spread) // 10)]
        if q[name].supports(0.9):
            result[f"top_decile_{name}"] = float(np.mean(z[top] <= q[name].width(0.9)))
    result["cells"] = cells
    if q["vectors"].supports(0.9):
        # Of the sphere with the volume of the ellipsoid, so that widths of one coverage can be compared.
        volume = (np.linalg.det(forces.covariances) ** (1 / 6) * factor)[solid]
        result["width"] = float(np.mean(q["vectors"].width(0.9) * volume))
        # At the coverage of exactly nine in ten, which each strategy has at another number.
        exact = np.quantile((forces.lengths / factor)[solid], 0.9)
        result["width_at_equal_coverage"] = float(np.mean(exact * volume))
    unit = q["forces"].sigma
    result["mean_sigma"] = float(unit * np.mean(size))
    result["structure_sigma"] = [float(unit * np.max(size[forces.structure == s])) for s in np.unique(forces.structure)]
    return result


def retrieval(size: np.ndarray, length: np.ndarray, structure: np.ndarray) -> dict[str, Any]:
    """How many of the largest errors are found among as many atoms, or structures, of largest σ; and the curves."""
    from gpjaxpot.uncertainty import retrieval_curve, retrieval_score

    def of_structures(values: np.ndarray) -> np.ndarray:
        return np.sqrt([np.mean(values[structure == s] ** 2) for s in np.unique(structure)])

    found = {}
    for name, sigma, error in (("atoms", size, length), ("structures", of_structures(size), of_structures(length))):
        looked, curve = retrieval_curve(sigma, error, LARGE[name])
        found[name] = {
            "score": retrieval_score(sigma, error, LARGE[name]), "curve": np.interp(LOOKED, looked, curve).tolist()
        }  # fmt: skip
    return found


def told_apart(inside: Sequence[float] | np.ndarray, outside: Sequence[float] | np.ndarray) -> float:
    """Probability that a structure from outside has a larger σ, or novelty, than one from inside."""
    a, b = np.array(inside), np.array(outside)
    return float(np.mean((b[:, None] > a[None, :]) + 0.5 * (b[:, None] == a[None, :])))


def predicted(folder: Path, structures: int, tested: int, seconds: float) -> dict[str, Any]:
    """Fits, and predicts the structures kept out to calibrate on, and all test files."""
    import gpjaxpot as gp
    from gpjaxpot.potential.calibrate import compare_known
    from gpjaxpot.potential.fit_calibration import keep_out

    isolated = folder / "isolated_atoms.xyz"
    bound = subset(gp.read(folder / "train.xyz"), structures)
    kept = set(keep_out([f.group for f in bound], CALIBRATION))
    training = [f for i, f in enumerate(bound) if i not in kept] + (gp.read(isolated) if isolated.exists() else [])
    start = time.perf_counter()
    potential = gp.fit(training, settings=gp.load_settings(None, [f"model.time={seconds}"]))
    fitted = time.perf_counter() - start
    files = {"test": "test.xyz", **SHIFTED.get(folder.name, {})}
    held = compare_known(potential, [bound[i] for i in sorted(kept)])
    start = time.perf_counter()
    known = {name: compare_known(potential, subset(gp.read(folder / f), tested)) for name, f in files.items()}
    return {
        "n_train": len(training), "n_inducing": potential.summary()["n_inducing"], "fit_seconds": fitted,
        "evaluate_seconds": time.perf_counter() - start, "calibration": potential.calibration, "held": held,
        "known": known,
    }  # fmt: skip


def calibrated(fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Calibrates what was `predicted` in every way, and scores each in and out of distribution."""
    from gpjaxpot.potential.calibrate import calibrate_known

    held, known = fitted["held"], fitted["known"]
    ways: dict[str, Any] = {"raw": None, "left out": fitted["calibration"]}
    cost = {}
    for method in STRATEGIES[1:]:
        start = time.perf_counter()
        ways[method] = calibrate_known(held, method)
        cost[method] = {"calibration_seconds": time.perf_counter() - start}
        start = time.perf_counter()
        for k in known["test"]:
            _environments(ways[method], k)
        cost[method]["share_of_evaluation"] = (
            (time.perf_counter() - start)
            / fitted["evaluate_seconds"]
            * (sum(map(len, known.values())) / len(known["test"]))
        )
    result: dict[str, Any] = {
        "n_train": fitted["n_train"], "n_calibration": len(held), "n_test": {n: len(k) for n, k in known.items()},
        "n_inducing": fitted["n_inducing"], "fit_seconds": fitted["fit_seconds"], "cost": cost,
        "left_out": None if fitted["calibration"] is None else fitted["calibration"].record, "ways": {},
    }  # fmt: skip
    for way, calibration in ways.items():
        if way != "raw" and calibration is None:
            continue
        found = {name: scored(k, calibration) for name, k in known.items()}
        novelty = {} if calibration is None else {name: _novelties(k, calibration) for name, k in known.items()}
        for name in found:
            found[name]["sigma_ratio"] = found[name]["mean_sigma"] / found["test"]["mean_sigma"]
            found[name]["auroc"] = told_apart(found["test"]["structure_sigma"], found[name]["structure_sigma"])
            if novelty:
                found[name]["novel"] = float(np.mean(novelty[name] > 1.0))
                found[name]["auroc_novelty"] = told_apart(novelty["test"], novelty[name])
        result["ways"][way] = found
    # What exchangeable structures would give: every second one of the test set, by the errors of the others.
    by_others = calibrate_known(known["test"][1::2], "conformal")
    result["ways"]["half of the test"] = {"test": scored(known["test"][::2], by_others)}
    return result


def _environments(calibration: Any, one: Any) -> Any:
    """Factors and novelties of the atoms of a structure."""
    from gpjaxpot.potential.calibration import root_spread

    return calibration.environments(one.vectors, one.numbers, root_spread(one.compared.forces_std))


def _novelties(known: Sequence[Any], calibration: Any) -> np.ndarray:
    """The largest novelty of an atom of each structure."""
    found = []
    for k in known:
        _, novelty = _environments(calibration, k)
        found.append(0.0 if novelty is None else float(np.max(novelty)))
    return np.array(found)


def rows_of(name: str, result: dict[str, Any]) -> list[list[object]]:
    """Lines of the table: one for each strategy, in distribution."""
    rows = []
    for way, found in result["ways"].items():
        test = found["test"]
        cells = [c for c in test["cells"] if c["supported"]]
        share = {(c["of"], c["level"]): c["share"] for c in cells}
        rows.append(
            [
                name, way, f"{sum(c['holds'] for c in cells)}/{len(cells)}",
                *(100 * share[k] if k in share else None for k in (("forces", 0.9), ("vectors", 0.9), ("energy", 0.9))),
                100 * test["top_decile_vectors"] if "top_decile_vectors" in test else None,
                test["forces"]["ece"], test["forces"]["nll"], test["forces"]["crps"], test["spearman"],
                test["spearman_oracle"], test.get("width_at_equal_coverage"),
            ]
        )  # fmt: skip
        name = ""
    return rows


def shifted_rows(name: str, result: dict[str, Any]) -> list[list[object]]:
    """Lines of the table out of distribution, with one for the test set, as calibrated flexibly."""
    rows = []
    for shift, f in result["ways"]["flexible"].items():
        share = {(c["of"], c["level"]): c["share"] for c in f["cells"] if c["supported"]}
        covered = (100 * share[k] if k in share else None for k in (("forces", 0.9), ("vectors", 0.9), ("energy", 0.9)))
        rows.append([name, shift, *covered, f["sigma_ratio"], f["auroc"], 100 * f["novel"], f["auroc_novelty"]])
    return rows


def retrieval_rows(name: str, result: dict[str, Any]) -> list[list[object]]:
    """Lines of the table of how many of the largest errors are found at once, in %."""
    rows = []
    for points in LARGE:
        ways = {way: found["test"]["retrieval"][points]["score"] for way, found in result["ways"].items()}
        rows.append([name, points, 100 * LARGE[points], *(100 * ways[w] if w in ways else None for w in FINDERS)])
        name = ""
    return rows


def draw(result: Mapping[str, Any]) -> Path:
    """The curves of all sets that there are, atoms above structures, as one figure."""
    from gpjaxpot.plots.style import GREY, TWO_COLUMNS, finish, line, new_figure

    figure = new_figure(TWO_COLUMNS, 3.9)
    axes = figure.subplots(len(LARGE), len(result), sharex=True, sharey=True, squeeze=False)
    for column, (name, found) in zip(axes.T, result.items(), strict=True):
        column[0].set_title(name, fontsize=9)
        for one, points in zip(column, LARGE, strict=True):
            one.plot([0, 100], [0, 100], color=GREY, lw=0.8, label="chance")
            one.plot([0, 100 * LARGE[points], 100], [0, 100, 100], color=GREY, lw=1.0, ls=":", label="perfect order")
            for k, way in enumerate(w for w in DRAWN if w in found["ways"]):
                curve = found["ways"][way]["test"]["retrieval"][points]["curve"]
                one.plot(100 * LOOKED, 100 * np.array(curve), label=way, **line(k))
    for row, points in zip(axes, LARGE, strict=True):
        row[0].set(xlim=(0, 50), ylim=(0, 102), ylabel=f"of the {100 * LARGE[points]:g} % worst\n{points} found (%)")
    figure.supxlabel("looked at, most uncertain first (%)", fontsize=9)
    # Beside the axes: curves are everywhere.
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False)
    path = RESULTS / "retrieval.png"
    finish(figure).savefig(path, dpi=150)
    return path


def one_set(name: str, folder: Path, given: argparse.Namespace) -> dict[str, Any] | None:
    """Fits and scores a set, or scores what an earlier run predicted; None where there is nothing of that."""
    kept = BUILD / "calibration" / f"{name}.pickle"
    if not given.again:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps(predicted(folder, given.structures, given.test_structures, given.seconds)))
    elif not kept.exists():
        print(f"{name}: nothing was kept of an earlier run")
        return None
    return calibrated(pickle.loads(kept.read_bytes()))


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--sets", nargs="+", default=SETS, metavar="NAME", help="data sets")
    options.add_argument("--structures", type=int, default=300, help="to fit and calibrate on, at most")
    options.add_argument("--test-structures", type=int, default=100, help="of each test file at most")
    options.add_argument("--seconds", type=float, default=300.0, help="that a fit may take")
    options.add_argument("--again", action="store_true", help="score what an earlier run predicted")
    options.add_argument("--name", default="calibration", help="of the file under results/")
    given = options.parse_args()
    result = for_each_set(given, lambda name, folder: one_set(name, folder, given))
    if not result:
        return 0
    rows = [line for name, found in result.items() for line in rows_of(name, found)]
    shifted = [line for name, found in result.items() for line in shifted_rows(name, found)]
    print(table(["set", "calibration", "cells that hold", "F in 90 %", "vectors", "E", "top decile", "ECE", "NLL",
                 "CRPS eV/Å", "Spearman", "oracle", "width eV/Å"], rows))  # fmt: skip
    print("Width: mean radius of the sphere with the volume of the ellipsoid, where nine in ten errors lie inside.")
    print(table(["set", "of", "F in 90 %", "vectors", "E", "σ ratio", "AUROC of σ", "novel %", "AUROC of it"], shifted))
    print("Of the largest errors, those among as many of largest σ, in %:")
    finding = [line for name, found in result.items() for line in retrieval_rows(name, found)]
    print(table(["set", "of", "largest, %", *FINDERS], finding))
    print(f"wrote {draw(result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
