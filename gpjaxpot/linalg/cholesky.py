"""Cholesky factor of a covariance matrix, with the jitter that it took."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.errors import InputError

# Jitters tried, as shares of the mean diagonal entry.
JITTERS = (0.0, 1e-14, 1e-12, 1e-10, 1e-8)


class Cholesky(eqx.Module):
    """Lower factor L of A + jitter·I, with the jitter in the unit of A."""

    lower: Float[AnyArray, "n n"]
    jitter: float = eqx.field(static=True)

    def solve(self, b: Float[AnyArray, "n *columns"]) -> Float[AnyArray, "n *columns"]:
        """Return (A + jitter·I)⁻¹ b."""
        return jnp.asarray(scipy.linalg.cho_solve((np.asarray(self.lower), True), np.asarray(b)))

    def half_solve(self, b: Float[AnyArray, "n *columns"]) -> Float[AnyArray, "n *columns"]:
        """Return L⁻¹ b, whose squared length is bᵀ (A + jitter·I)⁻¹ b."""
        lower = np.asarray(self.lower)
        return jnp.asarray(scipy.linalg.solve_triangular(lower, np.asarray(b), lower=True))

    @property
    def log_determinant(self) -> Float[AnyArray, ""]:
        """Log |A + jitter·I|."""
        return 2.0 * jnp.sum(jnp.log(jnp.diagonal(self.lower)))


def factorise(matrix: Float[AnyArray, "n n"], largest_jitter: float | None = None) -> Cholesky:
    """Factor a symmetric positive matrix, adding as little to its diagonal as works.

    `largest_jitter` (in the matrix's unit) is refused to be exceeded: a jitter above the noise would silently
    change the model.

    Raises:
        InputError: if the matrix is not positive definite even so.
    """
    a = np.asarray(matrix, dtype=np.float64)
    scale = float(np.mean(np.diagonal(a)))
    for share in JITTERS:
        jitter = share * scale
        if largest_jitter is not None and jitter > largest_jitter:
            break
        try:
            lower = scipy.linalg.cholesky(a + jitter * np.eye(len(a)), lower=True)
        except (np.linalg.LinAlgError, ValueError):
            continue
        return Cholesky(jnp.asarray(lower), jitter)
    raise InputError(
        f"the covariance matrix ({len(a)} × {len(a)}) is not positive definite with a jitter up to "
        f"{JITTERS[-1]:g} of its scale{'' if largest_jitter is None else ' or the noise variance'}: raise the "
        "noise, remove duplicate structures, or use the sparse method"
    )
