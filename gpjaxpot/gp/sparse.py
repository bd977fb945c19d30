r"""The sparse posterior on inducing variables: deterministic training conditional (DTC).

With u the function at M inducing environments, $K_{uu} = V \Lambda V^T$ and $W = V \Lambda^{-1/2}$ (directions below
round-off left out: no jitter), every observation is modelled as $W^T u$-features times a standard normal
vector plus noise.  The stacked least squares of noise-weighted rows and of the unit prior is solved by QR.

Variance: $k_{**} - k_u^T K_{uu}^{-1} k_u + k_u^T (K_{uu} + K_{uf} \Sigma^{-1} K_{fu})^{-1} k_u$.
Source: Quiñonero-Candela & Rasmussen, J. Mach. Learn. Res. 6, 1939 (2005), eq. 20.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, PRNGKeyArray

from gpjaxpot.arrays import AnyArray
from gpjaxpot.linalg.products import multiply, symmetric_eigen, triangle

# Share of the largest eigenvalue (times the matrix's size) below which a direction is round-off.
RANK_TOLERANCE = 2.0**-52


class SparsePosterior(eqx.Module):
    """Posterior of the inducing variables, as weights with a factor of their covariance."""

    weights: Float[AnyArray, " inducing"]
    whitening: Float[AnyArray, "inducing rank"]
    """W: cov(f, u) W are the prior features; their squares sum to what u explains of a prior variance."""
    factor: Float[AnyArray, "inducing rank"]
    """W R⁻¹: its product with its transpose is the posterior covariance of the weights."""
    log_marginal_likelihood: Float[AnyArray, ""]

    @classmethod
    def condition(
        cls,
        k_uu: Float[AnyArray, "inducing inducing"],
        k_fu: Float[AnyArray, "data inducing"],
        noise_variance: Float[AnyArray, " data"],
        targets: Float[AnyArray, " data"],
    ) -> "SparsePosterior":
        """Condition on `targets`, given all covariances at once.

        Raises:
            InputError: never for positive noise; noise-free data belong to the exact posterior.
        """
        sigma = np.sqrt(np.asarray(noise_variance))[:, None]
        rows = np.concatenate([np.asarray(k_fu), np.asarray(targets)[:, None]], 1) / sigma
        log_noise = 2.0 * float(np.sum(np.log(sigma)))
        return cls.from_rows(whiten(k_uu), rows, len(rows), log_noise)

    @classmethod
    def from_rows(
        cls,
        whitening: Float[AnyArray, "inducing rank"],
        rows: Float[AnyArray, "rows columns"],
        n_data: int,
        log_noise: float,
    ) -> "SparsePosterior":
        """Condition on noise-weighted rows [k_fu | y]/σ, or on any R with the same RᵀR.

        `n_data` counts the observations and `log_noise` is the sum of log σ² over them.
        """
        rank = whitening.shape[1]
        top = np.concatenate([rows[:, :-1] @ whitening, rows[:, -1:]], 1)
        prior = np.concatenate([np.eye(rank), np.zeros((rank, 1))], 1)
        r = triangle(np.concatenate([top, prior]))
        upper, z, rest = r[:rank, :rank], r[:rank, rank], r[rank:, rank]
        white_weights = scipy.linalg.solve_triangular(upper, z)
        factor = scipy.linalg.solve_triangular(upper, whitening.T, trans=1).T
        log_determinant = 2.0 * np.sum(np.log(np.abs(np.diagonal(upper)))) + log_noise
        evidence = -0.5 * (np.sum(rest**2) + log_determinant + n_data * np.log(2.0 * np.pi))
        return cls(
            jnp.asarray(whitening @ white_weights),
            jnp.asarray(whitening),
            jnp.asarray(factor),
            jnp.asarray(evidence),
        )

    def mean(self, cross: Float[AnyArray, "points inducing"]) -> Float[AnyArray, " points"]:
        """Posterior mean of quantities whose prior covariance with u is `cross`."""
        return jnp.asarray(cross) @ self.weights

    def covariance(
        self, cross: Float[AnyArray, "points inducing"], prior: Float[AnyArray, "points points"]
    ) -> Float[AnyArray, "points points"]:
        """Posterior covariance, given the prior one."""
        known, left = jnp.asarray(cross) @ self.whitening, jnp.asarray(cross) @ self.factor
        return jnp.asarray(prior) - known @ known.T + left @ left.T

    def variance(
        self, cross: Float[AnyArray, "points inducing"], prior: Float[AnyArray, " points"]
    ) -> Float[AnyArray, " points"]:
        """Diagonal of the posterior covariance, given that of the prior one."""
        known, left = jnp.asarray(cross) @ self.whitening, jnp.asarray(cross) @ self.factor
        return jnp.asarray(prior) - jnp.sum(known**2, axis=1) + jnp.sum(left**2, axis=1)

    def halves(
        self, cross: Float[AnyArray, "points inducing"]
    ) -> tuple[Float[AnyArray, "points rank"], Float[AnyArray, "points rank"]]:
        """Matrices A, B with posterior covariance = prior − A Aᵀ + B Bᵀ."""
        return multiply(cross, self.whitening), multiply(cross, self.factor)

    def draw(self, key: PRNGKeyArray | Array) -> Float[AnyArray, " inducing"]:
        """Weights of a function drawn from the posterior."""
        return self.weights + self.factor @ jax.random.normal(key, (self.factor.shape[1],))


def whiten(k_uu: Float[AnyArray, "inducing inducing"]) -> Float[AnyArray, "inducing rank"]:
    """W with Wᵀ K_uu W = I, over the directions of K_uu that stand above round-off."""
    values, vectors = symmetric_eigen(np.asarray(k_uu, dtype=np.float64))
    kept = values > len(values) * RANK_TOLERANCE * values[-1]
    return vectors[:, kept] / np.sqrt(values[kept])
