"""The numbers of a report as plain JSON: errors and scores, by species, by structure, and the worst atoms."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gpjaxpot.applications.evaluate import scores_of
from gpjaxpot.applications.evaluation_table import provenance
from gpjaxpot.applications.figures import OBSERVABLES, quantile_function, scored
from gpjaxpot.potential.calibration import Calibration
from gpjaxpot.potential.compared import Compared
from gpjaxpot.structures.copies import check_fitted
from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.labels import Frame
from gpjaxpot.uncertainty import binned_rmse
from gpjaxpot.uncertainty.retrieval import retrieval_curve

WORST = 10
"""How many of the worst atoms and structures are told."""
LARGE = 0.05
"""Share of the atoms whose force errors count as large."""
MANY_STRUCTURES = 20
"""Of fewer structures the largest errors are one structure's."""
_BINS = 15
_PIT_BINS = 20
_LOOKED = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_COVERED = 0.9

Atoms = Float[np.ndarray, " atoms"]
Curve = tuple[Float[np.ndarray, " looked"], Float[np.ndarray, " looked"]]


def report_record(
    frames: Sequence[Frame],
    compared: Sequence[Compared],
    calibration: Calibration | None,
    summary: Mapping[str, Any],
    raw: bool = False,
) -> dict[str, Any]:
    """Return all that a report says as plain JSON, each number in the unit that its name ends with.

    `model` and `data` say what was tested on what, `fitted` the places of structures that the model was fitted to;
    `spreads` is "calibrated" or "raw": what `sigma` means below. `evaluation` is what `evaluate` returns, without the
    time. `species` has errors and spreads of force components, `structures` each structure's errors and spreads,
    `worst_structures` and `worst_atoms` the places of the ten with the largest force errors, worst first. `pit`,
    `binned` and `retrieval` are the numbers of the figures of these names. What is unknown is None. Isolated atoms are
    left out, as in `evaluate`.

    Args:
        frames: structures with labels.
        compared: the prediction of each, set against its labels.
        calibration: of the potential.
        summary: of the potential.
        raw: whether `sigma` is the model's own spread, though it is calibrated.
    """
    pairs = [(f, c) for f, c in zip(frames, compared, strict=True) if not c.isolated]
    pairs = pairs or list(zip(frames, compared, strict=True))
    kept = [c for _, c in pairs]
    used = None if raw else calibration
    structures = [_structure(frame, item, used) for frame, item in pairs]
    return {
        "model": {
            "method": summary.get("method"),
            "n_inducing": summary.get("n_inducing"),
            "n_training_structures": summary.get("n_structures"),
            "fingerprint": summary.get("fingerprint"),
            "species": [symbol(number) for number in summary.get("species", ())],
        },
        "fitted": [i for found in check_fitted(summary.get("structure_marks", ()), frames) for i in found.frames],
        "spreads": "raw" if used is None else "calibrated",
        "provenance": provenance(None if used is None else used.record),
        "evaluation": scores_of(compared, calibration),
        "species": _species(pairs, used),
        "structures": structures,
        "worst_structures": _largest([item["forces_rmse_eV_per_A"] for item in structures]),
        "worst_atoms": _worst_atoms(pairs, used),
        "pit": _pit(kept, used),
        "binned": _binned(kept, used),
        "retrieval": _retrieval(retrieval_curves(kept, calibration)),
        "retrieval_of_structures": _retrieval(structure_retrieval_curves(kept, calibration)),
    }


def force_sizes(item: Compared, calibration: Calibration | None) -> tuple[Atoms, Atoms]:
    """Return the length of each atom's force error and its σ, eV/Å: the root of the sum of the components' σ².

    Raw without a calibration.
    """
    std = np.asarray(item.forces_std)
    if calibration is not None:
        factor = np.ones(item.n_atoms) if item.forces_factor is None else item.forces_factor
        std = std * factor[:, None] * quantile_function(calibration, "forces").sigma
    return np.linalg.norm(np.asarray(item.forces_error), axis=1), np.linalg.norm(std, axis=1)


def retrieval_curves(compared: Sequence[Compared], calibration: Calibration | None) -> dict[str, Curve]:
    """Return the curve of the raw σ and, of a calibrated model, of the calibrated one; none without forces."""
    curves = {}
    for name, sizes in _sizes_by_kind(compared, calibration).items():
        length, sigma = (np.concatenate(parts) for parts in zip(*sizes, strict=True))
        curves[name] = retrieval_curve(sigma, length, LARGE)
    return curves


def structure_retrieval_curves(compared: Sequence[Compared], calibration: Calibration | None) -> dict[str, Curve]:
    """Return the same of whole structures, by root mean squares over their atoms; none of few structures."""
    curves = {}
    for name, sizes in _sizes_by_kind(compared, calibration).items():
        if len(sizes) >= MANY_STRUCTURES:
            length, sigma = (
                np.array([np.sqrt(np.mean(s**2)) for s in parts]) for parts in zip(*sizes, strict=True)
            )
            curves[name] = retrieval_curve(sigma, length, LARGE)
    return curves


def _sizes_by_kind(
    compared: Sequence[Compared], calibration: Calibration | None
) -> dict[str, list[tuple[Atoms, Atoms]]]:
    """Return `force_sizes` of the structures with uncertain forces, raw and calibrated; nothing without any."""
    pairs = [item for item in compared if item.forces_std is not None and item.n_atoms]
    kinds = {"raw σ": None} | ({} if calibration is None else {"calibrated σ": calibration})
    return {name: [force_sizes(c, used) for c in pairs] for name, used in kinds.items()} if pairs else {}


def _structure(frame: Frame, item: Compared, used: Calibration | None) -> dict[str, Any]:
    """Return errors (label minus prediction) and spreads of one structure."""
    known = item.forces_error is not None
    error = np.asarray(item.forces_error) if known else np.zeros((0, 3))
    length = np.linalg.norm(error, axis=1)
    sigma = force_sizes(item, used)[1] if item.forces_std is not None else np.zeros(0)
    unit = quantile_function(used, "energy").sigma
    return {
        "source": frame.source,
        "group": item.group,
        "n_atoms": item.n_atoms,
        "energy_error_eV_per_atom": item.energy_error,
        "energy_sigma_eV_per_atom": None if item.energy_std is None else float(unit * item.energy_std),
        "forces_rmse_eV_per_A": float(np.sqrt(np.mean(error**2))) if known else None,
        "largest_force_error_eV_per_A": float(length.max()) if length.size else None,
        "largest_force_sigma_eV_per_A": float(sigma.max()) if sigma.size else None,
        "novelty": None if item.novelty is None or not len(item.novelty) else float(np.max(item.novelty)),
    }


def _largest(values: Sequence[float | None]) -> list[int]:
    """Return the places of the largest values, largest first."""
    known = [(value, place) for place, value in enumerate(values) if value is not None]
    return [place for _, place in sorted(known, key=lambda both: -both[0])][:WORST]


def _worst_atoms(pairs: Sequence[tuple[Frame, Compared]], used: Calibration | None) -> list[dict[str, Any]]:
    """Return the atoms with the longest force errors; `structure` is a place in `structures`, `atom` counts from 0."""
    found = []
    for place, (frame, item) in enumerate(pairs):
        if item.forces_error is None:
            continue
        reference, error = np.asarray(frame.labels.forces), np.asarray(item.forces_error)
        length = np.linalg.norm(error, axis=1)
        sigma = None if item.forces_std is None else force_sizes(item, used)[1]
        for atom in np.argsort(-length, kind="stable")[:WORST]:
            ratio = None if sigma is None or not sigma[atom] > 0 else float(length[atom] / sigma[atom])
            found.append({
                "structure": place,
                "source": frame.source,
                "atom": int(atom),
                "species": symbol(int(frame.structure.numbers[atom])),
                "reference_eV_per_A": reference[atom].tolist(),
                "predicted_eV_per_A": (reference[atom] - error[atom]).tolist(),
                "error_eV_per_A": float(length[atom]),
                "sigma_eV_per_A": None if sigma is None else float(sigma[atom]),
                "error_in_sigma": ratio,
                "novelty": None if item.novelty is None else float(item.novelty[atom]),
            })  # fmt: skip
    return sorted(found, key=lambda atom: -atom["error_eV_per_A"])[:WORST]


def _species(pairs: Sequence[tuple[Frame, Compared]], used: Calibration | None) -> dict[str, dict[str, Any]]:
    """Return errors of force components for each species, and what its spreads are worth, beside the raw ones."""
    known = [(f, c) for f, c in pairs if c.forces_error is not None]
    table = {}
    for number in sorted({int(n) for frame, _ in known for n in frame.structure.numbers}):
        here = [frame.structure.numbers == number for frame, _ in known]
        error = np.concatenate([np.asarray(c.forces_error)[at].ravel() for (_, c), at in zip(known, here, strict=True)])
        row = {
            "n_atoms": len(error) // 3,
            "forces_mae_eV_per_A": float(np.mean(np.abs(error))),
            "forces_rmse_eV_per_A": float(np.sqrt(np.mean(error**2))),
        }
        only = [(c, at) for (_, c), at in zip(known, here, strict=True) if c.forces_std is not None]
        row |= _spread(only, used, "") | _spread(only, None, "_raw")
        table[symbol(number)] = row
    return table


def _spread(
    only: Sequence[tuple[Compared, np.ndarray]], calibration: Calibration | None, ending: str
) -> dict[str, float | None]:
    """Return mean σ of the components of some atoms, and the coverage of their 90 % intervals."""
    sigma, error = [np.zeros(0)], [np.zeros(0)]
    for item, at in only:
        factor = np.ones(item.n_atoms)
        if calibration is not None and item.forces_factor is not None:
            factor = item.forces_factor
        std = (np.asarray(item.forces_std) * factor[:, None])[at].ravel()
        sigma.append(std[std > 0])
        error.append(np.asarray(item.forces_error)[at].ravel()[std > 0])
    std, errors = np.concatenate(sigma), np.concatenate(error)
    quantiles = quantile_function(calibration, "forces")
    covered = len(std) > 0 and quantiles.supports(_COVERED)
    return {
        f"mean_sigma{ending}_eV_per_A": float(quantiles.sigma * np.mean(std)) if len(std) else None,
        f"coverage_{_COVERED:g}{ending}": float(np.mean(np.abs(errors) <= quantiles.width(_COVERED) * std))
        if covered
        else None,
    }


def _pit(compared: Sequence[Compared], used: Calibration | None) -> dict[str, list[float]]:
    """Return the share of the PIT values in each of twenty equal bins, of each observable."""
    shares = {}
    for observable in OBSERVABLES.values():
        std, error = scored(compared, observable, raw=used is None)
        if len(std):
            values = quantile_function(used, observable).pit(error / std)
            count, _ = np.histogram(values, np.linspace(0.0, 1.0, _PIT_BINS + 1))
            shares[observable] = (count / len(std)).tolist()
    return shares


def _binned(compared: Sequence[Compared], used: Calibration | None) -> dict[str, Any] | None:
    """Return σ and error of force components, root mean squares in bins of equal count along σ."""
    std, error = scored(compared, "forces", raw=used is None)
    if not len(std):
        return None
    bins = max(1, min(_BINS, len(std) // 10))
    sigma, rmse, count = binned_rmse(quantile_function(used, "forces").sigma * std, error, bins=bins)
    return {"sigma_eV_per_A": sigma.tolist(), "rmse_eV_per_A": rmse.tolist(), "count": np.asarray(count).tolist()}


def _retrieval(curves: dict[str, Curve]) -> dict[str, Any] | None:
    """Return how many of the large errors are found by looking at some shares of the points."""
    if not curves:
        return None
    found = {name.removesuffix(" σ"): np.interp(_LOOKED, *curve).tolist() for name, curve in curves.items()}
    return {"large": LARGE, "looked_at": list(_LOOKED), "found": found}
