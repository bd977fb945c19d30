"""Log marginal likelihoods as JAX functions: differentiable in all that the covariances depend on."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray


def exact_log_marginal_likelihood(
    covariance: Float[AnyArray, "data data"],
    noise_variance: Float[AnyArray, " data"],
    targets: Float[AnyArray, " data"],
) -> Float[AnyArray, ""]:
    """Log density of N(targets; 0, covariance + noise).  Source: Rasmussen & Williams (2006), eq. 2.30."""
    lower = jnp.linalg.cholesky(covariance + jnp.diag(noise_variance))
    half = jax.scipy.linalg.solve_triangular(lower, targets, lower=True)
    log_determinant = 2.0 * jnp.sum(jnp.log(jnp.diagonal(lower)))
    return -0.5 * (half @ half + log_determinant + targets.shape[0] * jnp.log(2.0 * jnp.pi))


def sparse_log_marginal_likelihood(
    k_uu: Float[AnyArray, "inducing inducing"],
    k_fu: Float[AnyArray, "data inducing"],
    noise_variance: Float[AnyArray, " data"],
    targets: Float[AnyArray, " data"],
    jitter: float = 1e-12,
) -> Float[AnyArray, ""]:
    """Log density of N(targets; 0, K_fu K_uu⁻¹ K_uf + noise), at a cost linear in the data.

    `jitter` is a share of K_uu's mean diagonal entry.
    Source: Quiñonero-Candela & Rasmussen (2005), eq. 30; matrix determinant lemma.
    """
    m = k_uu.shape[0]
    regular = k_uu + jitter * jnp.mean(jnp.diagonal(k_uu)) * jnp.eye(m, dtype=k_uu.dtype)
    lower = jnp.linalg.cholesky(regular)
    sigma = jnp.sqrt(noise_variance)
    white = jax.scipy.linalg.solve_triangular(lower, k_fu.T, lower=True) / sigma
    y = targets / sigma
    gram, projected = white @ white.T, white @ y
    return whitened_log_marginal_likelihood(
        gram, projected, y @ y, jnp.sum(jnp.log(noise_variance)), targets.shape[0]
    )


def whitened_log_marginal_likelihood(
    gram: Float[AnyArray, "rank rank"],
    projected: Float[AnyArray, " rank"],
    square: Float[AnyArray, ""],
    log_noise: Float[AnyArray, ""],
    n_data: int,
) -> Float[AnyArray, ""]:
    """Log evidence of y ~ N(Aw, 1), w ~ N(0, 1), from AᵀA, Aᵀy and yᵀy (noise-weighted rows)."""
    lower = jnp.linalg.cholesky(jnp.eye(gram.shape[0], dtype=gram.dtype) + gram)
    half = jax.scipy.linalg.solve_triangular(lower, projected, lower=True)
    log_determinant = 2.0 * jnp.sum(jnp.log(jnp.diagonal(lower)))
    constant = n_data * jnp.log(2.0 * jnp.pi)
    return -0.5 * (square - half @ half + log_determinant + log_noise + constant)
