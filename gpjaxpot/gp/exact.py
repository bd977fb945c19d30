"""The exact Gaussian-process posterior, by Cholesky factorisation."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.linalg.cholesky import Cholesky, factorise


class ExactPosterior(eqx.Module):
    """Posterior of a zero-mean GP given noisy observations: textbook formulas on matrices.

    Source: Rasmussen & Williams (2006), eqs. 2.23–2.24 and algorithm 2.1.
    """

    cholesky: Cholesky
    coefficients: Float[AnyArray, " data"]
    targets: Float[AnyArray, " data"]

    @classmethod
    def condition(
        cls,
        covariance: Float[AnyArray, "data data"],
        noise_variance: Float[AnyArray, " data"],
        targets: Float[AnyArray, " data"],
    ) -> "ExactPosterior":
        """Condition on `targets` with prior `covariance` and independent noise.

        Raises:
            InputError: if covariance plus noise is not positive definite.
        """
        noise = np.asarray(noise_variance)
        # A jitter above the noise would be a different model; noise-free data leave only the scale.
        largest = float(noise.min()) if noise.min() > 0 else None
        cholesky = factorise(np.asarray(covariance) + np.diag(noise), largest)
        return cls(cholesky, cholesky.solve(jnp.asarray(targets)), jnp.asarray(targets))

    @property
    def jitter(self) -> float:
        """What was added to the diagonal beyond the noise."""
        return self.cholesky.jitter

    def mean(self, cross: Float[AnyArray, "points data"]) -> Float[AnyArray, " points"]:
        """Posterior mean of quantities whose prior covariance with the data is `cross`."""
        return jnp.asarray(cross) @ self.coefficients

    def covariance(
        self, cross: Float[AnyArray, "points data"], prior: Float[AnyArray, "points points"]
    ) -> Float[AnyArray, "points points"]:
        """Posterior covariance, given the prior one."""
        half = self.cholesky.half_solve(jnp.asarray(cross).T)
        return jnp.asarray(prior) - half.T @ half

    def variance(
        self, cross: Float[AnyArray, "points data"], prior: Float[AnyArray, " points"]
    ) -> Float[AnyArray, " points"]:
        """Diagonal of the posterior covariance, given that of the prior one."""
        half = self.cholesky.half_solve(jnp.asarray(cross).T)
        return jnp.asarray(prior) - jnp.sum(half**2, axis=0)

    def halves(
        self, cross: Float[AnyArray, "points data"]
    ) -> tuple[Float[AnyArray, "points rank"], Float[AnyArray, "points none"]]:
        """Matrices A, B with posterior covariance = prior − A Aᵀ + B Bᵀ; B is empty."""
        half = self.cholesky.half_solve(jnp.asarray(cross).T).T
        return half, half[:, :0]

    @property
    def log_marginal_likelihood(self) -> Float[AnyArray, ""]:
        """Log probability density of the targets under the prior and the noise."""
        n = self.targets.shape[0]
        fit = self.targets @ self.coefficients
        return -0.5 * (fit + self.cholesky.log_determinant + n * jnp.log(2.0 * jnp.pi))

    def leave_one_out(self) -> tuple[Float[AnyArray, " data"], Float[AnyArray, " data"]]:
        """Mean and variance of each observation, predicted from all others.

        Source: Rasmussen & Williams (2006), eq. 5.12.
        """
        inverse = jnp.diagonal(self.cholesky.solve(jnp.eye(self.targets.shape[0])))
        return self.targets - self.coefficients / inverse, 1.0 / inverse
