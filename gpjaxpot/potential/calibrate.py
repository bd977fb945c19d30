"""Finding a calibration on structures whose labels their predictions did not know."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from scipy import stats

from gpjaxpot.errors import InputError
from gpjaxpot.potential.calibration import (
    ENERGY,
    FORCES,
    METHODS,
    STRESS,
    VECTORS,
    Calibration,
    EnvironmentFactor,
    factor_features,
)
from gpjaxpot.potential.compared import Known, compare
from gpjaxpot.potential.potential import Potential
from gpjaxpot.structures.labels import Frame
from gpjaxpot.uncertainty.classes import ByClass, GaussianClasses
from gpjaxpot.uncertainty.conformal import check_level, group_weights
from gpjaxpot.uncertainty.flexible import cross_fit, pinball
from gpjaxpot.uncertainty.novelty import Novelty
from gpjaxpot.uncertainty.quantile_function import ONE_SIGMA, QuantileFunction
from gpjaxpot.uncertainty.reduction import Reduction
from gpjaxpot.uncertainty.vector_scores import mahalanobis_squared

Callback = Callable[[str, int, int], None]
# Structures that it takes to scale by one number, to take order statistics, and to train a network; atoms to know
# usual environments from others, and to train.
TO_SCALE, TO_RANK, TO_TRAIN = 5, 15, 20
ATOMS_TO_KNOW, ATOMS_TO_TRAIN = 100, 400
# A network is taken where it lowers the loss of structures it has not seen by this share.
LEAST_GAIN = 0.005
COMPONENTS = 10
CLASSES = 8


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
    _check(method, level, len(used))
    known = compare_known(potential, used, callback)
    return potential.with_calibration(calibrate_known(known, method, level, source, seed))


def compare_known(
    potential: Potential, frames: Sequence[Frame], callback: Callback | None = None
) -> list[Known]:
    """Predict labelled structures: errors, raw spreads and environments, as `calibrate_known` takes them."""
    finder, known = potential.neighbours(), []
    for done, frame in enumerate(frames, start=1):
        prediction, vectors = potential.predicted(frame.structure, finder, uncertainty=True, covariance=True)
        known.append(Known(compare(frame, prediction), frame.structure.numbers, np.asarray(vectors)))
        if callback is not None:
            callback("calibration", done, len(frames))
    return known


@dataclass(frozen=True)
class ForceScores:
    """All atoms with a solid ellipsoid of all structures: errors, covariances with noise, and whose they are."""

    errors: Float[np.ndarray, "atoms 3"]
    stds: Float[np.ndarray, "atoms 3"]
    covariances: Float[np.ndarray, "atoms 3 3"]
    vectors: Float[np.ndarray, "atoms size"]
    numbers: np.ndarray
    structure: np.ndarray

    @classmethod
    def of(cls, known: Sequence[Known]) -> "ForceScores | None":
        """Collect them; None if there are none."""
        parts: list[tuple] = []
        for place, k in enumerate(known):
            c = k.compared
            if c.forces_error is None or c.forces_std is None or c.forces_covariance is None:
                continue
            # What symmetry makes certain tells nothing of σ.
            solid = (np.trace(c.forces_covariance, axis1=1, axis2=2) > 0) & np.all(c.forces_std > 0, axis=1)
            solid &= np.linalg.eigvalsh(c.forces_covariance)[:, 0] > 0
            if np.any(solid):
                at = np.full(int(np.sum(solid)), place)
                own = (c.forces_error, c.forces_std, c.forces_covariance, np.asarray(k.vectors), np.asarray(k.numbers))
                parts.append((*(a[solid] for a in own), at))
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else None

    @property
    def lengths(self) -> Float[np.ndarray, " atoms"]:
        """Mahalanobis length of each error."""
        return np.sqrt(mahalanobis_squared(self.errors, self.covariances))


def calibrate_known(
    known: Sequence[Known], method: str = "auto", level: float = ONE_SIGMA, source: str = "", seed: int = 0
) -> Calibration:
    """Calibrate on structures whose predictions did not know their labels.

    Args:
        known: predictions against labels, one a structure; isolated atoms are left out.
        method: "scale" (one number each, Gaussian), "conformal" (order statistics), "class" (a factor for each class of
            environments before), "flexible" (a network), or "auto": the last one where structures left out of it gain,
            and the data are enough.
        level: at which classes and networks are made to hold.
        source: what to say of where the structures come from.
        seed: of mixture, folds and networks.

    Raises:
        InputError: for an unknown method, a level outside (0, 1), or too few structures.
    """
    bound = [k for k in known if not k.compared.isolated]
    _check(method, level, len(bound))
    forces = ForceScores.of(bound)
    found = _Strategy("none", "no forces") if forces is None else _strategy(forces, method, level, seed)
    plain = "scale" if method == "scale" else "conformal"
    quantiles: dict[str, QuantileFunction] = {}
    methods: dict[str, str] = {}
    for name in (ENERGY, STRESS):
        scores, structure = _scores(bound, name)
        if len(np.unique(structure)) >= TO_SCALE:
            quantiles[name], methods[name] = _quantiles(scores, structure, plain)
    if forces is not None and len(np.unique(forces.structure)) >= TO_SCALE:
        each, apart = np.repeat(forces.structure, 3), found.apart
        components = np.abs(forces.errors / forces.stds / apart[:, None]).reshape(-1)
        quantiles[FORCES], methods[FORCES] = _quantiles(components, each, plain)
        vectors = forces.lengths / apart
        quantiles[VECTORS], methods[VECTORS] = _quantiles(vectors, forces.structure, plain, 3)
    novelty = None
    if forces is not None and found.reduction is not None:
        novelty = Novelty.fit(found.reduction(forces.vectors), forces.structure, seed)
    record = {
        "method": found.method if forces is not None else plain,
        "asked": method,
        "reason": found.reason,
        "level": level,
        "source": source,
        "n_structures": len(bound),
        "n_atoms": int(sum(k.compared.n_atoms for k in bound)),
        "observables": {
            name: {"method": methods[name], "highest_level": q.limit, "sigma": q.sigma} for name, q in quantiles.items()
        },
        "sha256": _fingerprint(bound),
    }
    return Calibration(quantiles, found.reduction, found.factor, novelty, record)


def _check(method: str, level: float, count: int) -> None:
    """Refuse, before any work, what cannot be done with so many structures."""
    if method not in ("auto", *METHODS):
        raise InputError(f"calibration method must be one of auto, {', '.join(METHODS)}, got {method!r}")
    check_level(level)
    least = TO_TRAIN if method in ("class", "flexible") else TO_SCALE
    if count < least:
        what = f"{method} calibration" if least == TO_TRAIN else "a calibration"
        raise InputError(f"{what} takes at least {least} structures with labels, got {count}")


@dataclass(frozen=True)
class _Strategy:
    """What is done to force spreads before order statistics are taken."""

    method: str
    reason: str
    reduction: Reduction | None = None
    factor: EnvironmentFactor | None = None
    apart: Float[np.ndarray, " atoms"] = field(default_factory=lambda: np.zeros(0))
    """Factors of the calibration's own atoms, as if they had not been seen."""


def _strategy(forces: ForceScores, method: str, level: float, seed: int) -> _Strategy:
    ones = np.ones(len(forces.errors))
    count = len(np.unique(forces.structure))
    plain = "scale" if method == "scale" or (method == "auto" and count < TO_RANK) else "conformal"
    reduction = Reduction.fit(forces.vectors, COMPONENTS) if len(ones) >= ATOMS_TO_KNOW else None
    if method in ("scale", "conformal"):
        return _Strategy(plain, "asked for", reduction, None, ones)
    if reduction is None or count < TO_TRAIN or len(ones) < ATOMS_TO_TRAIN:
        few = f"{count} structures with {len(ones)} atoms that have uncertain forces"
        if method == "auto":
            return _Strategy(plain, f"{few} are too few for more", reduction, None, ones)
        raise InputError(
            f"{method} calibration takes at least {TO_TRAIN} structures with {ATOMS_TO_TRAIN} atoms, these are {few}: "
            "calibrate on more, or by conformal"
        )
    species = tuple(int(z) for z in np.unique(forces.numbers))
    reduced = reduction(forces.vectors)
    features = factor_features(reduced, species, forces.numbers, forces.covariances)
    levels, unit, scores = np.array([level]), float(stats.chi.ppf(level, 3)), forces.lengths
    if method == "class":
        classes = GaussianClasses.fit(reduced[:, :-1], CLASSES, seed)
        made = ByClass.fit(scores, features, levels, classes, *group_weights(forces.structure, by="point"))
        factor = EnvironmentFactor(species, made, unit)
        return _Strategy(method, "asked for", reduction, factor, made.quantiles(features)[:, 0] / unit)
    network, apart = cross_fit(scores, features, levels, forces.structure, seed=seed)
    made = _Strategy("flexible", "asked for", reduction, EnvironmentFactor(species, network, unit), apart[:, 0] / unit)
    if method == "flexible":
        return made
    constant = np.full(len(scores), np.quantile(scores, level))
    by_network, by_constant = (float(np.mean(pinball(scores - q, level))) for q in (apart[:, 0], constant))
    gain = 1.0 - by_network / by_constant
    told = f"a function of the environment lowers the loss of structures left out by {100 * gain:.1f} %"
    if gain < LEAST_GAIN:
        return _Strategy(plain, told + " only" * (gain > 0), reduction, None, ones)
    return replace(made, reason=told)


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
    scores: Float[np.ndarray, " scores"], structure: np.ndarray, plain: str, directions: int = 1
) -> tuple[QuantileFunction, str]:
    """The quantile function of scores, of whole structures: order statistics where there are enough of these."""
    count = len(np.unique(structure))
    if plain == "scale" or count < TO_RANK:
        scale = float(np.sqrt(np.mean(scores**2) / directions))
        return QuantileFunction.gaussian(scale, float(count), directions), "scale"
    weights, new = group_weights(structure, by="point")
    return QuantileFunction.from_scores(scores, weights, new), "conformal"


def _fingerprint(known: Sequence[Known]) -> str:
    """SHA-256 of the errors that were calibrated on, in their order."""
    digest = hashlib.sha256()
    for k in known:
        for value in (k.compared.energy_error, k.compared.forces_error, k.compared.stress_error):
            if value is not None:
                digest.update(np.ascontiguousarray(np.round(value, 9)).tobytes())
    return digest.hexdigest()
