r"""What turns a model's raw spreads into ones that hold: a quantile function for each observable, with its provenance.

Spreads of energies and stresses are multiplied by a number for each level.  Those of forces are first multiplied by a
factor of the atom's environment,

    $\hat σ_i = q_θ(X_i)\,σ_i$,   $\hat Σ_i = q_θ(X_i)^2\,Σ_i$,

which is 1 (conformal), constant on classes of environments (class), or a small network (flexible), and then, for each
level, by one number for components and one for vectors (Mahalanobis lengths), found where the network was not trained.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.uncertainty.calibrator import AbstractCalibrator
from gpjaxpot.uncertainty.novelty import Novelty
from gpjaxpot.uncertainty.quantile_function import QuantileFunction
from gpjaxpot.uncertainty.reduction import Reduction
from gpjaxpot.uncertainty.remoteness import Remoteness

METHODS = ("scale", "conformal", "class", "flexible")
# The novelty of an atom of a species that was not calibrated on is at least this.
UNSEEN = 2.0
ENERGY, FORCES, VECTORS, STRESS = "energy", "forces", "force_vectors", "stress"


class EnvironmentFactor(eqx.Module):
    """The factor on an atom's force spread, told from its environment and the spread itself."""

    by: AbstractCalibrator
    unit: float
    """What a quantile of the Mahalanobis length is divided by: that of a calibrated Gaussian."""

    def __call__(self, features: Float[np.ndarray, "atoms features"]) -> Float[np.ndarray, " atoms"]:
        """The factor of each atom, from its `factor_features`."""
        return self.by.quantiles(features)[:, 0] / self.unit


class Calibration(eqx.Module):
    """Quantile functions of observables, in units of raw spreads, and where they come from."""

    quantiles: dict[str, QuantileFunction]
    """Of energy, forces (components), force_vectors and stress, as far as there were labels to calibrate on."""
    species: tuple[int, ...] = eqx.field(static=True)
    """Atomic numbers of the atoms whose forces were calibrated on."""
    reduction: Reduction | None
    factor: EnvironmentFactor | None
    novelty: Novelty | None
    record: dict[str, Any] = eqx.field(static=True)
    """Plain JSON: method, level, counts, source, fingerprint."""
    remoteness: Remoteness | None = None

    def environments(
        self, vectors: Float[AnyArray, "atoms size"], numbers: AnyArray, spread: Float[AnyArray, " atoms"]
    ) -> tuple[Float[np.ndarray, " atoms"], Float[np.ndarray, " atoms"] | None]:
        """Factor of each atom's raw force spread, and how new its environment is; None where that is not known.

        Above 1 an environment is outside of what was calibrated on.  An atom of a species that was not there is at
        least at `UNSEEN`, and its spread is not made smaller; the atoms of a structure that as a whole is more remote
        from the known ones than these from each other are as new as it is.

        Args:
            vectors: of the environments of all atoms of a structure, of all terms of the kernel.  The factors alone
                are right for any atoms.
            numbers: atomic numbers.
            spread: `root_spread` of the force on each atom, raw, noise included.
        """
        seen = np.isin(np.asarray(numbers), self.species)
        if self.reduction is None:
            return np.ones(len(vectors)), None
        reduced = self.reduction(marked(vectors, numbers, self.species))
        factors = np.ones(len(vectors))
        if self.factor is not None:
            factors = self.factor(factor_features(reduced, self.species, numbers, spread))
        factors = np.where(seen, factors, np.maximum(factors, 1.0))
        if self.novelty is None:
            return factors, None
        novelty = self.novelty(reduced)
        novelty = np.where(seen, novelty, np.maximum(novelty, UNSEEN))
        if self.remoteness is not None:
            remote = float(self.remoteness(mean_vector(vectors, numbers, self.species)[None])[0])
            novelty = np.maximum(novelty, remote if remote > 1.0 else 0.0)
        return factors, novelty


def marked(vectors: AnyArray, numbers: AnyArray, species: Sequence[int]) -> Float[np.ndarray, "atoms marked"]:
    """Vectors with marks of the species, whose projected vectors have different axes; of one species as they are."""
    if len(species) < 2:
        return np.asarray(vectors)
    return np.concatenate([np.asarray(vectors), _marks(numbers, species)], axis=1)


def mean_vector(vectors: AnyArray, numbers: AnyArray, species: Sequence[int]) -> Float[np.ndarray, " size"]:
    """Mean over the atoms of a structure of their vectors, those of each species apart, and the species' shares."""
    own, marks = np.asarray(vectors), _marks(numbers, species)
    return np.concatenate([(marks.T @ own).reshape(-1), marks.sum(axis=0)]) / max(1, len(own))


def factor_features(
    reduced: Float[np.ndarray, "atoms reduced"], species: Sequence[int], numbers: AnyArray, spread: AnyArray
) -> Float[np.ndarray, "atoms features"]:
    """What a factor is told from: the reduced vector, the logarithm of the raw force spread, the species."""
    columns = [reduced, np.log(np.maximum(np.asarray(spread), 1e-12))[:, None]]
    return np.concatenate([*columns, _marks(numbers, species)] if len(species) > 1 else columns, axis=1)


def root_spread(stds: Float[AnyArray, "atoms 3"]) -> Float[np.ndarray, " atoms"]:
    """Root mean square over the directions of the standard deviations of each atom's force."""
    return np.sqrt(np.mean(np.asarray(stds) ** 2, axis=1))


def _marks(numbers: AnyArray, species: Sequence[int]) -> Float[np.ndarray, "atoms species"]:
    return (np.asarray(numbers)[:, None] == np.array(species)[None, :]).astype(float)
