r"""Scores of vector predictions, such as the force on an atom, with a covariance each.

The residual of atom i is r (3 components) and Σ its 3×3 covariance, noise included: the force on
a symmetric site has no epistemic variance along forbidden directions, so without noise Σ has no
inverse. For a calibrated Gaussian $s^2 = r^T\Sigma^{-1}r$ follows the χ² distribution with three
degrees of freedom, whatever the orientation and size of Σ.
"""

import math
from collections.abc import Sequence

import numpy as np
import scipy  # finds scipy.stats, half a second, when it is asked for
from jaxtyping import Float

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty.scores import LEVELS

Vectors = Float[np.ndarray, "atoms components"]
Covariances = Float[np.ndarray, "atoms components components"]
PerAtom = Float[np.ndarray, " atoms"]


def mahalanobis_squared(residual: Vectors, covariance: Covariances) -> PerAtom:
    r"""Squared length of each residual in units of its own spread, $r^T\Sigma^{-1}r$."""
    return np.sum(_whitened(residual, covariance) ** 2, axis=1)


def vector_nll(residual: Vectors, covariance: Covariances) -> float:
    r"""Mean negative log likelihood, $\tfrac12[d\ln 2\pi + \ln|\Sigma| + s^2]$."""
    squared = mahalanobis_squared(residual, covariance)
    _, logdet = np.linalg.slogdet(covariance)
    constant = residual.shape[1] * math.log(2 * math.pi)
    return float(np.mean(0.5 * (constant + logdet + squared)))


def vector_pit(residual: Vectors, covariance: Covariances) -> PerAtom:
    """Probability integral transform of s² under χ²; uniform on (0, 1) if calibrated."""
    return scipy.stats.chi2.cdf(mahalanobis_squared(residual, covariance), residual.shape[1])


def mahalanobis_coverage(
    residual: Vectors, covariance: Covariances, levels: Sequence[float] = LEVELS
) -> dict[str, float]:
    """Share of residuals in the ellipsoid of each probability, keyed by the level as text."""
    inside = vector_pit(residual, covariance)
    return {f"{p:g}": float(np.mean(inside <= p)) for p in levels}


def _whitened(residual: Vectors, covariance: Covariances) -> Vectors:
    """Return L⁻¹r of each Cholesky factor Σ = LLᵀ: independent unit normals if calibrated."""
    if len(residual) == 0:
        raise InputError("no vectors to score: give at least one residual with its covariance")
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError as error:
        raise InputError(
            "a covariance is not positive definite: add the noise variance to its diagonal,"
            " or leave that atom out"
        ) from error
    return np.linalg.solve(factor, residual[..., None])[..., 0]
