"""Errors and uncertainty scores of a potential on frames with reference labels."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gpjaxpot.applications.predicts import Predicts
from gpjaxpot.applications.species import check_species
from gpjaxpot.errors import InputError
from gpjaxpot.potential.calibration import VECTORS, Calibration
from gpjaxpot.potential.compared import Compared, compare
from gpjaxpot.structures.labels import Frame
from gpjaxpot.uncertainty import scores, vector_scores
from gpjaxpot.uncertainty.distribution_scores import distribution_scores, or_none
from gpjaxpot.uncertainty.quantile_function import QuantileFunction
from gpjaxpot.units import EV_PER_A3_TO_GPA, EV_TO_MEV

NO_GROUP = "(no group)"
UNITS = {"energy": "eV/atom", "forces": "eV/Å", "stress": "eV/Å³"}
_TIMED_FRAMES = 8


def evaluate(
    potential: Predicts,
    frames: Sequence[Frame],
    uncertainty: bool = True,
    callback: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Predict every frame and compare with its labels; the result is plain JSON.

    Errors: `energy_mae_meV` and `energy_rmse_meV` of whole structures, both also
    `…_per_atom`; `forces_…_eV_per_A` over components; `stress_…_GPa` over components; None where
    the data have no such labels. Isolated atoms, which carry the energy's zero, are counted in
    `n_isolated_left_out` and enter only if there is nothing else. `groups` has the same numbers
    for each group of frames, if any is named.

    `uncertainty` has a block for energy (per atom), forces and stress (components) with the
    scores of `gpjaxpot.uncertainty`, in the units of `UNITS`: of a calibrated model those of its
    quantile functions, with `uncertainty_raw` for the total raw σ read as a Gaussian's; of another
    model the latter alone.  A level that the calibration has too few data for has no coverage. Components that
    are certain by symmetry (no epistemic σ but round-off) are not scored but counted in `n_certain`. For
    forces, `spearman` and `auroc_top5` compare the length of an atom's force error with the root
    of its covariance's trace, `spearman_oracle` is what Gaussian errors of these very σ would have, and
    `mahalanobis_coverage` counts errors inside ellipsoids. `novelty` counts the structures with an
    environment unlike those that were calibrated on.

    `seconds_per_atom` is the time of energy, forces and stress without uncertainties, measured on
    up to eight of the frames after each was predicted once, so without compilation.

    Args:
        potential: what predicts.
        frames: structures with labels.
        uncertainty: whether to score the standard deviations too.
        callback: called with (frames done, frames in all) after each.

    Raises:
        InputError: if there are no frames, none has a label, or one has a species that the
            potential does not know.
    """
    compared = compare_all(potential, frames, uncertainty, callback)
    scored = scores_of(compared, getattr(potential, "calibration", None), uncertainty)
    return {**scored, "seconds_per_atom": _seconds_per_atom(potential, frames)}


def compare_all(
    potential: Predicts,
    frames: Sequence[Frame],
    uncertainty: bool = True,
    callback: Callable[[int, int], None] | None = None,
) -> list[Compared]:
    """Predict every frame once, with force covariances if `uncertainty`, and set it against its labels.

    Raises:
        InputError: as `evaluate`.
    """
    if not len(frames):
        raise InputError("no structures to evaluate on: give at least one")
    if all(frame.labels.empty for frame in frames):
        raise InputError(
            f"none of the {len(frames)} structures has an energy, forces or a stress to compare "
            "with: give the names under which they are stored"
        )
    check_species(frames, potential.species)
    compared = []
    neighbours = potential.neighbours()  # shapes only grow: few compilations for many structures
    for done, frame in enumerate(frames, start=1):
        # One call site: the covariance gives the force ellipsoids.
        prediction = potential.predict(
            frame.structure,
            uncertainty=uncertainty,
            covariance=uncertainty,
            neighbours=neighbours,
        )
        compared.append(compare(frame, prediction))
        if callback is not None:
            callback(done, len(frames))
    return compared


def scores_of(
    compared: Sequence[Compared], calibration: Calibration | None, uncertainty: bool = True
) -> dict[str, Any]:
    """Return what `evaluate` does, but for the time, of structures that were compared already."""
    kept = [item for item in compared if not item.isolated] or compared
    quantiles = None if calibration is None else calibration.quantiles
    return {
        **_errors(kept),
        "n_isolated_left_out": len(compared) - len(kept),
        "calibration": None if calibration is None else calibration.record,
        "uncertainty": _uncertainty(kept, quantiles) if uncertainty else None,
        "uncertainty_raw": _uncertainty(kept) if uncertainty and quantiles is not None else None,
        "novelty": _novelty(kept),
        "groups": _groups(kept),
    }


def _novelty(compared: Sequence[Compared]) -> dict[str, Any] | None:
    """Return how many structures lie outside of what was calibrated on; None where that is not known."""
    known = [float(np.max(c.novelty)) for c in compared if c.novelty is not None and len(c.novelty)]
    if not known:
        return None
    return {"largest": max(known), "n_outside": sum(v > 1.0 for v in known), "n_structures": len(known)}


def _groups(compared: Sequence[Compared]) -> dict[str, dict[str, Any]]:
    """Return the errors of each group in order of appearance; nothing if no frame names one."""
    names = list(dict.fromkeys(item.group for item in compared))
    if names == [None]:
        return {}
    return {
        NO_GROUP if name is None else name: _errors([c for c in compared if c.group == name])
        for name in names
    }


def _errors(compared: Sequence[Compared]) -> dict[str, Any]:
    """Return counts and errors in the units that their names say."""
    total = np.array([c.energy_error * c.n_atoms for c in compared if c.energy_error is not None])
    return {
        "n_structures": len(compared),
        "n_atoms": sum(item.n_atoms for item in compared),
        **_mae_rmse("energy_{}_meV", total * EV_TO_MEV),
        **_mae_rmse("energy_{}_meV_per_atom", _joined(compared, "energy_error") * EV_TO_MEV),
        **_mae_rmse("forces_{}_eV_per_A", _joined(compared, "forces_error")),
        **_mae_rmse("stress_{}_GPa", _joined(compared, "stress_error") * EV_PER_A3_TO_GPA),
    }


def _mae_rmse(name: str, errors: np.ndarray) -> dict[str, float | None]:
    """Return mean absolute and root mean square of errors under `name`; None of nothing."""
    if not errors.size:
        return {name.format("mae"): None, name.format("rmse"): None}
    return {
        name.format("mae"): float(np.mean(np.abs(errors))),
        name.format("rmse"): float(np.sqrt(np.mean(errors**2))),
    }


def _joined(compared: Sequence[Compared], field: str) -> np.ndarray:
    """Return all components of a field of all structures that have it, flat."""
    parts = [np.ravel(v) for item in compared if (v := getattr(item, field)) is not None]
    return np.concatenate(parts) if parts else np.zeros(0)


def _uncertainty(
    compared: Sequence[Compared], quantiles: Mapping[str, QuantileFunction] | None = None
) -> dict[str, dict[str, Any] | None]:
    """Return a block of scores for each observable; None where there is nothing to score.

    `quantiles` are a calibration's, by observable; without them all is read as Gaussian with the raw spread.
    """
    blocks = {}
    for name, unit in UNITS.items():
        pairs = [c for c in compared if getattr(c, f"{name}_std") is not None]
        error, std = _joined(pairs, f"{name}_error"), _joined(pairs, f"{name}_std")
        own = None if quantiles is None else quantiles.get(name)
        if name == "forces" and own is not None:
            std = std * np.repeat(_factors(pairs), 3)
        blocks[name] = None
        if np.any(std > 0):
            uncertain = std > 0
            counts = {"n_scored": int(np.sum(uncertain)), "n_certain": int(np.sum(~uncertain))}
            marks = {} if quantiles is None else {"calibrated": own is not None}
            scored = distribution_scores(error[uncertain], std[uncertain], own)
            blocks[name] = {"unit": unit, **marks, **counts, **scored}
    if blocks["forces"] is not None:
        blocks["forces"] |= _force_vector_scores(compared, quantiles)
    return blocks


def _factors(compared: Sequence[Compared]) -> np.ndarray:
    """Return what the calibration multiplies each atom's raw spread by."""
    parts = [np.ones(c.n_atoms) if c.forces_factor is None else c.forces_factor for c in compared]
    return np.concatenate(parts) if parts else np.zeros(0)


def _force_vector_scores(
    compared: Sequence[Compared], quantiles: Mapping[str, QuantileFunction] | None
) -> dict[str, Any]:
    """Return the scores of forces as vectors, one an atom."""
    pairs = [c for c in compared if c.forces_std is not None]
    length = np.linalg.norm(_joined(pairs, "forces_error").reshape(-1, 3), axis=1)
    std = _joined(pairs, "forces_std").reshape(-1, 3)
    if quantiles is not None:
        std = std * _factors(pairs)[:, None]
    size = np.linalg.norm(std, axis=1)
    return {
        "spearman": or_none(scores.spearman(size, length)),
        "spearman_oracle": or_none(scores.oracle_spearman(std)),
        "auroc_top5": or_none(scores.auroc_top5(size, length)),
        "mahalanobis_coverage": _ellipsoid_coverage(compared, quantiles),
    }


def _ellipsoid_coverage(
    compared: Sequence[Compared], quantiles: Mapping[str, QuantileFunction] | None
) -> dict[str, float | None] | None:
    """Return the share of force errors inside ellipsoids, of atoms whose ellipsoid is solid."""
    pairs = [c for c in compared if c.forces_covariance is not None]
    if not pairs:
        return None
    error = _joined(pairs, "forces_error").reshape(-1, 3)
    covariance = _joined(pairs, "forces_covariance").reshape(-1, 3, 3)
    solid = np.linalg.eigvalsh(covariance)[:, 0] > 0
    if not np.any(solid):
        return None
    own = None if quantiles is None else quantiles.get(VECTORS)
    if own is None:
        return dict(vector_scores.mahalanobis_coverage(error[solid], covariance[solid]))
    lengths = np.sqrt(vector_scores.mahalanobis_squared(error[solid], covariance[solid])) / _factors(pairs)[solid]
    return {
        f"{p:g}": float(np.mean(lengths <= own.width(p))) if own.supports(p) else None for p in scores.LEVELS
    }


def _seconds_per_atom(potential: Predicts, frames: Sequence[Frame]) -> float:
    """Return the time of a plain prediction per atom, compilation left out."""
    places = np.linspace(0, len(frames) - 1, min(_TIMED_FRAMES, len(frames))).round().astype(int)
    structures = [frames[place].structure for place in places]
    neighbours = potential.neighbours()
    # Twice: the shapes grow in the first round, and are compiled in the second.
    for structure in (*structures, *structures):
        potential.predict(structure, neighbours=neighbours)
    start = time.perf_counter()
    for structure in structures:
        potential.predict(structure, neighbours=neighbours)
    elapsed = time.perf_counter() - start
    return elapsed / sum(len(structure) for structure in structures)
