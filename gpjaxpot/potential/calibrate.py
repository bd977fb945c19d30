"""Finding a calibration on structures whose labels their predictions did not know."""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from gpjaxpot.covariance.features import made_environments, vector_rows
from gpjaxpot.errors import InputError
from gpjaxpot.potential.calibration import ENERGY, FORCES, METHODS, STRESS, VECTORS, Calibration, mean_vector
from gpjaxpot.potential.compared import Known, compare
from gpjaxpot.potential.force_scores import ForceScores
from gpjaxpot.potential.force_strategy import TO_TRAIN, Strategy, choose_strategy
from gpjaxpot.potential.potential import Potential
from gpjaxpot.potential.predictor import Neighbours
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.structure import Structure
from gpjaxpot.uncertainty.conformal import check_level
from gpjaxpot.uncertainty.quantile_function import ONE_SIGMA, QuantileFunction
from gpjaxpot.uncertainty.remoteness import Remoteness

Callback = Callable[[str, int, int], None]
# Structures that it takes to scale by one number, and to take order statistics where nobody has asked for them.
TO_SCALE, TO_RANK = 5, 15
# Numbers in the vectors of environments that are kept in memory, at the most: 128 MB.
KEPT = 1 << 24


def calibrate(
    potential: Potential,
    frames: Sequence[Frame],
    method: str = "auto",
    level: float = ONE_SIGMA,
    *,
    source: str = "structures given",
    seed: int = 0,
    callback: Callback | None = None,
) -> Potential:
    """Calibrate a potential on labelled structures that it was not fitted to; replaces what calibration it has.

    Args:
        potential: what predicts.
        frames: structures with labels, of the kind that is to be predicted; isolated atoms are left out.
        method: "scale", "conformal", "class", "flexible" or "auto"; see `calibrate_known`.
        level: at which classes and networks are made to hold for each atom.
        source: what to say of where the structures come from.
        seed: of all random choices.
        callback: called as ``callback(stage, done, total)``.

    Raises:
        InputError: as `calibrate_known`, and for species that the potential does not know.
    """
    used = [f for f in frames if not (f.isolated or f.labels.empty)]
    check_wanted(method, level, len(used))
    known = compare_known(potential, used, callback)
    return potential.with_calibration(calibrate_known(known, method, level, source, seed))


def compare_known(
    potential: Potential, frames: Sequence[Frame], callback: Callback | None = None
) -> list[Known]:
    """Predict labelled structures: errors, raw spreads and environments, as `calibrate_known` takes them."""
    finder, known, kept = potential.neighbours(), [], 0
    for done, frame in enumerate(frames, start=1):
        prediction, vectors = potential.predicted(frame.structure, finder, uncertainty=True, covariance=True)
        kept += vectors.size
        # Few are kept, as long as all are few; making them anew costs little beside their spreads.
        stored = np.asarray(vectors) if kept <= KEPT else partial(_vectors, potential, frame.structure, finder)
        known.append(Known(compare(frame, prediction), frame.structure.numbers, stored))
        if callback is not None:
            callback("calibration", done, len(frames))
    return known


def _vectors(potential: Potential, structure: Structure, finder: Neighbours) -> Float[np.ndarray, "atoms size"]:
    """Vectors of the environments of one structure, of all terms of the kernel."""
    made = made_environments(potential.kernel, finder.batch(structure))
    return vector_rows(made.features, len(structure))


def calibrate_known(
    known: Sequence[Known], method: str = "auto", level: float = ONE_SIGMA, source: str = "", seed: int = 0
) -> Calibration:
    """Calibrate on structures whose predictions did not know their labels.

    Args:
        known: predictions against labels, one a structure; isolated atoms are left out.
        method: "scale" (one number each, Gaussian), "conformal" (order statistics), "class" (a factor for each class of
            environments before), "flexible" (a network), or "auto": the last one where structures left out of it gain,
            and the data are enough, and a scale alone where they are too few to rank.
        level: at which classes and networks are made to hold.
        source: what to say of where the structures come from.
        seed: of mixture, folds and networks.

    Raises:
        InputError: for an unknown method, a level outside (0, 1), too few structures, or nothing that is uncertain.
    """
    bound = [k for k in known if not k.compared.isolated]
    check_wanted(method, level, len(bound))
    least = {"auto": float(TO_RANK), "scale": math.inf}.get(method, 0.0)
    quantiles: dict[str, QuantileFunction] = {}
    for name in (ENERGY, STRESS):
        scores, structure = _scores(bound, name)
        if len(np.unique(structure)) >= TO_SCALE:
            quantiles[name] = _quantiles(scores, structure, least)
    forces = ForceScores.of(bound)
    found = Strategy("", "no force is uncertain")
    if forces is not None:
        found = choose_strategy(forces, method, level, seed)
        solid, part = forces.solid, forces.stds > 0
        if len(np.unique(forces.structure[solid])) >= TO_SCALE:
            quantiles[VECTORS] = _quantiles((forces.lengths / found.apart)[solid], forces.structure[solid], least, 3)
        if len(np.unique(forces.structure)) >= TO_SCALE:
            z = np.abs(forces.errors[part]) / (forces.stds * found.apart[:, None])[part]
            quantiles[FORCES] = _quantiles(z, np.repeat(forces.structure[:, None], 3, axis=1)[part], least)
    if not quantiles:
        raise InputError(f"there are no {TO_SCALE} structures with labels of anything that is uncertain")
    methods = {name: "scale" if q.exact else "conformal" for name, q in quantiles.items()}
    record = {
        "method": found.method or (methods[FORCES] if FORCES in methods else next(iter(methods.values()))),
        "asked": method,
        "reason": found.reason,
        "level": level if found.factor is not None else None,
        "source": source,
        "n_structures": len(bound),
        "n_atoms": int(sum(k.compared.n_atoms for k in bound)),
        "observables": {
            name: {"method": methods[name], "highest_level": q.limit, "sigma": q.sigma} for name, q in quantiles.items()
        },
        "sha256": _fingerprint(bound),
    }
    remoteness = None
    if found.novelty is not None and len(bound) >= TO_RANK:
        remoteness = Remoteness.fit(np.stack([mean_vector(k.vectors, k.numbers, found.species) for k in bound]))
    return Calibration(quantiles, found.species, found.reduction, found.factor, found.novelty, record, remoteness)


def check_wanted(method: str, level: float, count: int) -> None:
    """Refuse, before any work, what cannot be done with so many structures.

    Raises:
        InputError: for an unknown method, a level outside (0, 1), or too few structures.
    """
    if method not in ("auto", *METHODS):
        raise InputError(f"calibration method must be one of auto, {', '.join(METHODS)}, got {method!r}")
    check_level(level)
    trained = method in ("class", "flexible")
    least = max(TO_TRAIN, math.ceil(level / (1.0 - level) - 1e-9)) if trained else TO_SCALE
    if count < least:
        what = f"{method} calibration at level {level:.4g}" if trained else "a calibration"
        raise InputError(f"{what} takes at least {least} structures with labels, got {count}")


def _scores(known: Sequence[Known], name: str) -> tuple[Float[np.ndarray, " scores"], np.ndarray]:
    """|error|/σ of energies, or of components of stresses, and the places of their structures."""
    scores, places = [], []
    for place, k in enumerate(known):
        error, std = getattr(k.compared, f"{name}_error"), getattr(k.compared, f"{name}_std")
        if error is None or std is None:
            continue
        e, s = np.ravel(error), np.ravel(std)
        used = s > 0
        scores.append(np.abs(e[used]) / s[used])
        places.append(np.full(int(np.sum(used)), place))
    return (np.concatenate(scores), np.concatenate(places)) if scores else (np.zeros(0), np.zeros(0, int))


def _quantiles(
    scores: Float[np.ndarray, " scores"], structure: np.ndarray, least: float, directions: int = 1
) -> QuantileFunction:
    """Order statistics of scores, of whole structures, where there are `least` of these; else a scaled Gaussian."""
    count = len(np.unique(structure))
    if count < least:
        return QuantileFunction.gaussian(float(np.sqrt(np.mean(scores**2) / directions)), float(count), directions)
    return QuantileFunction.from_groups(scores, structure)


def _fingerprint(known: Sequence[Known]) -> str:
    """SHA-256 of the errors that were calibrated on, in their order."""
    digest = hashlib.sha256()
    for k in known:
        for value in (k.compared.energy_error, k.compared.forces_error, k.compared.stress_error):
            if value is not None:
                digest.update(np.ascontiguousarray(np.round(value, 9)).tobytes())
    return digest.hexdigest()
