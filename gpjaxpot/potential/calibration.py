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

METHODS = ("scale", "conformal", "class", "flexible")
ENERGY, FORCES, VECTORS, STRESS = "energy", "forces", "force_vectors", "stress"


class EnvironmentFactor(eqx.Module):
    """The factor on an atom's force spread, told from its environment and the spread itself."""

    species: tuple[int, ...] = eqx.field(static=True)
    by: AbstractCalibrator
    unit: float
    """What a quantile of the Mahalanobis length is divided by: that of a calibrated Gaussian."""

    def __call__(
        self, reduced: Float[np.ndarray, "atoms reduced"], numbers: AnyArray, covariance: Float[AnyArray, "atoms 3 3"]
    ) -> Float[np.ndarray, " atoms"]:
        """The factor of each atom, of the covariance of whose force is the raw one with noise."""
        features = factor_features(reduced, self.species, numbers, covariance)
        return self.by.quantiles(features)[:, 0] / self.unit


class Calibration(eqx.Module):
    """Quantile functions of observables, in units of raw spreads, and where they come from."""

    quantiles: dict[str, QuantileFunction]
    """Of energy, forces (components), force_vectors and stress, as far as there were labels to calibrate on."""
    reduction: Reduction | None
    factor: EnvironmentFactor | None
    novelty: Novelty | None
    record: dict[str, Any] = eqx.field(static=True)
    """Plain JSON: method, level, counts, source, fingerprint."""

    def environments(
        self, vectors: Float[AnyArray, "atoms size"], numbers: AnyArray, covariance: Float[AnyArray, "atoms 3 3"]
    ) -> tuple[Float[np.ndarray, " atoms"], Float[np.ndarray, " atoms"] | None]:
        """Factor of each atom's raw force spread, and how new its environment is; None where that is not known.

        Above 1 an environment is outside of what was calibrated on.

        Args:
            vectors: of the environments, of all terms of the kernel.
            numbers: atomic numbers.
            covariance: of the force on each atom, raw, noise included.
        """
        if self.reduction is None:
            return np.ones(len(vectors)), None
        reduced = self.reduction(np.asarray(vectors))
        factors = np.ones(len(vectors)) if self.factor is None else self.factor(reduced, numbers, covariance)
        return factors, None if self.novelty is None else self.novelty(reduced)


def factor_features(
    reduced: Float[np.ndarray, "atoms reduced"], species: Sequence[int], numbers: AnyArray, covariance: AnyArray
) -> Float[np.ndarray, "atoms features"]:
    """What a factor is told from: the reduced vector, the logarithm of the raw force spread, the species."""
    spread = np.sqrt(np.trace(np.asarray(covariance), axis1=1, axis2=2) / 3.0)
    marks = (np.asarray(numbers)[:, None] == np.array(species)[None, :]).astype(float)
    columns = [reduced, np.log(np.maximum(spread, 1e-12))[:, None]]
    return np.concatenate([*columns, marks] if len(species) > 1 else columns, axis=1)
