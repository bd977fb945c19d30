"""What is done to spreads of forces before order statistics are taken: a factor told from the environment."""

from dataclasses import dataclass, field, replace

import numpy as np
import scipy
from jaxtyping import Float

from gpjaxpot.errors import InputError
from gpjaxpot.potential.calibration import EnvironmentFactor, factor_features
from gpjaxpot.potential.force_scores import ForceScores
from gpjaxpot.uncertainty.classes import ByClass, GaussianClasses
from gpjaxpot.uncertainty.conformal import conformal_rank, group_places
from gpjaxpot.uncertainty.flexible import cross_fit, deal, pinball
from gpjaxpot.uncertainty.novelty import Novelty
from gpjaxpot.uncertainty.reduction import Reduction

# Structures that it takes to train a network; atoms to know usual environments from others, and to train.
TO_TRAIN = 20
ATOMS_TO_KNOW, ATOMS_TO_TRAIN = 100, 400
# A network is taken where it lowers the loss of structures it has not seen by this share, and so many standard errors.
LEAST_GAIN = 0.005
LEAST_SURE = 2.0
FOLDS = 5
COMPONENTS = 10
# Numbers of classes that are tried.
CLASSES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Strategy:
    """What is done to force spreads before order statistics are taken."""

    method: str
    """"" where nothing is done but what is done to all observables."""
    reason: str
    species: tuple[int, ...] = ()
    reduction: Reduction | None = None
    factor: EnvironmentFactor | None = None
    novelty: Novelty | None = None
    apart: Float[np.ndarray, " atoms"] = field(default_factory=lambda: np.zeros(0))
    """Factors of the calibration's own atoms, as if they had not been seen."""


def choose_strategy(forces: ForceScores, method: str, level: float, seed: int) -> Strategy:
    """Learn the factor of an environment, if `method` wants one or, for "auto", if structures left out gain by it.

    Raises:
        InputError: for too few structures or atoms.
    """
    atoms, count = len(forces.errors), len(np.unique(forces.structure))
    species = tuple(int(z) for z in np.unique(forces.numbers))
    plain = Strategy("", "asked for", species, apart=np.ones(atoms))
    reduced = np.zeros((atoms, 0))
    if atoms >= ATOMS_TO_KNOW:
        reduction = Reduction.fit(forces.sample(species), COMPONENTS)
        reduced = forces.reduced(reduction, species)
        novelty = Novelty.fit(reduced, forces.structure, seed)
        plain = replace(plain, reduction=reduction, novelty=novelty)
    if method in ("scale", "conformal"):
        return plain
    rank = conformal_rank(count, level)
    if plain.reduction is None or count < TO_TRAIN or atoms < ATOMS_TO_TRAIN or rank is None:
        few = f"{count} structures with {atoms} atoms that have uncertain forces"
        if method == "auto":
            return replace(plain, reason=f"{few} are too few for more")
        raise InputError(
            f"{method} calibration at level {level:.4g} takes at least {TO_TRAIN} structures with {ATOMS_TO_TRAIN} "
            f"atoms, these are {few}: calibrate on more, or by conformal"
        )
    features = factor_features(reduced, species, forces.numbers, forces.spread)
    levels, unit, scores = np.array([level]), float(scipy.stats.chi.ppf(level, 3)), forces.lengths
    fold = deal(forces.structure, FOLDS, seed)  # as `cross_fit` deals them
    if method == "class":
        return _by_class(forces, features, reduced.shape[1] - 1, levels, unit, fold, plain, seed)
    network, apart = cross_fit(scores, features, levels, forces.structure, folds=FOLDS, seed=seed)
    made = replace(plain, method="flexible", factor=EnvironmentFactor(network, unit), apart=apart[:, 0] / unit)
    if method == "flexible":
        return made
    # Against one number, which knows as little of each fold.
    constant = np.array([np.quantile(scores[fold != k], level) for k in range(int(np.max(fold)) + 1)])[fold]
    by_constant, by_network = (np.asarray(pinball(scores - q, level)) for q in (constant, apart[:, 0]))
    gains = by_constant - by_network
    gain = float(np.sum(gains) / np.sum(by_constant))
    each = np.bincount(group_places(forces.structure), gains)
    sure = float(np.mean(each) / max(np.std(each, ddof=1) / np.sqrt(len(each)), 1e-300))
    told = f"a function of the environment changes the loss of structures that it does not know by {-100 * gain:+.1f} %"
    if gain < LEAST_GAIN or sure < LEAST_SURE:
        return replace(plain, reason=f"{told}, {sure:.1f} standard errors" if gain >= LEAST_GAIN else told)
    return replace(made, reason=told)


def _by_class(
    forces: ForceScores, features: np.ndarray, components: int, levels: np.ndarray, unit: float, fold: np.ndarray,
    plain: Strategy, seed: int,
) -> Strategy:  # fmt: skip
    """Factors of as many classes as predict the other folds best; of the calibration's own atoms by the other folds."""

    def learn(classes: GaussianClasses, some: np.ndarray) -> ByClass:
        return ByClass.fit(forces.lengths[some], features[some], levels, classes, forces.structure[some])

    least, best, apart = np.inf, None, np.zeros(len(features))
    for count in CLASSES:
        classes = GaussianClasses.fit(features[:, :components], count, seed)
        if len(classes.shares) < count:
            break  # there are no points for more
        own = np.zeros(len(features))
        for k in range(int(np.max(fold)) + 1):
            own[fold == k] = learn(classes, fold != k).quantiles(features[fold == k])[:, 0]
        loss = float(np.sum(np.asarray(pinball(forces.lengths - own, levels[0]))))
        if loss < least:
            least, best, apart = loss, classes, own
    assert best is not None  # one class there always is
    factor = EnvironmentFactor(learn(best, np.ones(len(features), bool)), unit)
    return replace(plain, method="class", factor=factor, apart=apart / unit)
