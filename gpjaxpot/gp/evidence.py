"""Log marginal likelihoods as JAX functions: differentiable in all that the covariances depend on."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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
    """Log density of N(targets; 0, K_fu K_uu⁻¹ K_uf + noise), DTC's, at a cost linear in the data.

    `jitter` is a share of K_uu's mean diagonal entry.
    Source: Quiñonero-Candela & Rasmussen (2005), eq. 30; matrix determinant lemma.
    """
    white = _whitened(k_uu, k_fu, jitter)
    return _low_rank(white, noise_variance, targets)


def fitc_log_marginal_likelihood(
    k_uu: Float[AnyArray, "inducing inducing"],
    k_fu: Float[AnyArray, "data inducing"],
    prior_variance: Float[AnyArray, " data"],
    noise_variance: Float[AnyArray, " data"],
    targets: Float[AnyArray, " data"],
    jitter: float = 1e-12,
) -> Float[AnyArray, ""]:
    """Log density of N(targets; 0, Q + diag(prior variance − Q) + noise), with Q = K_fu K_uu⁻¹ K_uf.

    What the inducing variables leave out of each observation counts as noise of its own.
    Source: Snelson & Ghahramani, Adv. Neural Inf. Process. Syst. 18 (2006); Quiñonero-Candela & Rasmussen (2005), §6.
    """
    white, spare = _explained(k_uu, k_fu, prior_variance, jitter)
    return _low_rank(white, noise_variance + spare, targets)


def variational_bound(
    k_uu: Float[AnyArray, "inducing inducing"],
    k_fu: Float[AnyArray, "data inducing"],
    prior_variance: Float[AnyArray, " data"],
    noise_variance: Float[AnyArray, " data"],
    targets: Float[AnyArray, " data"],
    jitter: float = 1e-12,
) -> Float[AnyArray, ""]:
    """Lower bound on the exact log marginal likelihood (VFE): DTC's, less what is left out in units of the noise.

    Source: Titsias, Proc. Mach. Learn. Res. 5, 567 (2009), eq. 9, for a noise of each observation's own.
    """
    white, spare = _explained(k_uu, k_fu, prior_variance, jitter)
    return _low_rank(white, noise_variance, targets) - 0.5 * jnp.sum(spare / noise_variance)


def _whitened(k_uu: Array, k_fu: Array, jitter: float) -> Float[Array, "inducing data"]:
    """L⁻¹ K_uf for K_uu = L Lᵀ: the columns' squares sum to the variance that is explained."""
    m = k_uu.shape[0]
    regular = k_uu + jitter * jnp.mean(jnp.diagonal(k_uu)) * jnp.eye(m, dtype=k_uu.dtype)
    lower = jnp.linalg.cholesky(regular)
    return jax.scipy.linalg.solve_triangular(lower, k_fu.T, lower=True)


def _explained(
    k_uu: Array, k_fu: Array, prior_variance: Array, jitter: float
) -> tuple[Float[Array, "inducing data"], Float[Array, " data"]]:
    """What `_whitened` gives, and the prior variance of each observation that it leaves out."""
    white = _whitened(k_uu, k_fu, jitter)
    return white, jnp.maximum(prior_variance - jnp.sum(white**2, axis=0), 0.0)


def _low_rank(white: Array, noise_variance: Array, targets: Array) -> Float[Array, ""]:
    """Log density of N(targets; 0, WᵀW + noise)."""
    sigma = jnp.sqrt(noise_variance)
    rows, y = white / sigma, targets / sigma
    log_noise = jnp.sum(jnp.log(noise_variance))
    return whitened_log_marginal_likelihood(rows @ rows.T, rows @ y, y @ y, log_noise, targets.shape[0])


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
