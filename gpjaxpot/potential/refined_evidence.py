"""Log marginal likelihood of the exact posterior that a refined mean is of."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gpjaxpot.potential.exact_system import Callback, ExactSystem


@dataclass(frozen=True)
class RefinedEvidence:
    """An estimate of a log marginal likelihood; `standard_error` is that of the log determinant's half."""

    value: float
    standard_error: float
    reason: str
    """How it was made, for the record."""

    @classmethod
    def estimate(
        cls,
        system: ExactSystem,
        levels: dict[str, float],
        values: Float[np.ndarray, " data"],
        seed: int,
        callback: Callback,
    ) -> "RefinedEvidence":
        """The log density of all observations y under prior and noise: −½ [yᵀ (K + Σ)⁻¹ y + log det(K + Σ) + n log 2π].

        The quadratic form is that of `values` with their residual r, to second order: too small by |r|² at the most.

        Args:
            system: all observations.
            levels: variance and noise.
            values: coefficients times σ, as solved for at these levels.
            seed: of the probes.
            callback: progress.

        Raises:
            ArithmeticError: if covariance and noise, or the preconditioner, are not positive.
        """
        sigma, product = system.sigma(levels), system.product(levels)
        right = system.targets / sigma
        residual = right - values - product(values)
        found = system.log_determinant(levels, seed, callback)
        fit = float(right @ values + residual @ values)
        of_noise = 2.0 * float(np.sum(np.log(sigma)))
        value = -0.5 * (fit + found.value + of_noise + len(sigma) * np.log(2.0 * np.pi))
        error = 0.5 * found.standard_error
        reason = "of the exact posterior, by its factor"
        if found.probes:
            reason = f"of the exact posterior, ± {error:.2g} by {found.probes} probes and {found.steps} products"
        if found.unfinished:
            reason += f"; {found.unfinished} probes would have gone on: it is too small"
        return cls(float(value), error, reason)
