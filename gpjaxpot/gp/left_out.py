r"""Predictive likelihood of structures that are left out, each with all its labels, in closed form.

Components of one structure, and their errors, go together: leaving out one at a time leaves its neighbours in
and flatters the model.  Leaving out all rows s of a structure from A = K + Σ gives

    $y_s - μ_{-s} = [A^{-1}]_{ss}^{-1} [A^{-1} y]_s$,   $\mathrm{cov}_{-s} = [A^{-1}]_{ss}^{-1}$,

and in weight space, with rows Ψ in units of the noise, residuals r and $H_s = Ψ_s (1 + Ψ^TΨ)^{-1} Ψ_s^T$,

    $(1 - H_s)^{-1} r_s$   and   $(1 - H_s)^{-1}$.

Source: Rasmussen & Williams (2006), §5.4.2, for blocks instead of single points; Cook & Weisberg, *Residuals and
Influence in Regression* (1982), for weight space.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.gp.levels import Weighted, normal_equations

PADDING = -1
# Energies, forces, stresses, and those whose noise is known.
KINDS = 4


class Held(eqx.Module):
    """Rows of the structures that are left out in turn; padded to equal numbers of rows.

    Features are those of unit signal variance, whitened.  All is divided by what is known of each σ; `kind` says which
    level multiplies it, by its place among the names, −1 for a row of padding, the number of names for none.
    """

    rows: Float[AnyArray, "structures rows rank"]
    targets: Float[AnyArray, "structures rows"]
    spare: Float[AnyArray, "structures rows"]
    """Prior variance that the features leave out, for unit signal variance; no part of the score, since a sparse
    posterior is conditioned as if it were noise."""
    log_sigma: Float[AnyArray, "structures rows"]
    """Logarithm of what each row was divided by."""
    kind: Int[AnyArray, "structures rows"]


@eqx.filter_jit
def sparse_score(
    log_levels: dict[str, Float[AnyArray, ""]],
    parts: dict[str, Weighted],
    held: Held,
    names: tuple[str, ...],
) -> Float[AnyArray, ""]:
    """Score of the structures in `held`, each left out in turn of all data, whose normal equations are `parts`."""
    gram, projected, *_ = normal_equations(log_levels, parts)
    lower = jnp.linalg.cholesky(jnp.eye(gram.shape[0], dtype=gram.dtype) + gram)
    log_sigma = _log_sigma(log_levels, held.kind, names)
    scale = jnp.exp(-log_sigma) * (held.kind != PADDING)
    rows = held.rows * (jnp.exp(0.5 * log_levels["variance"]) * scale)[:, :, None]
    half = jax.scipy.linalg.solve_triangular(lower, projected, lower=True)
    flat = rows.reshape(-1, rows.shape[2])
    reached = jax.scipy.linalg.solve_triangular(lower, flat.T, lower=True)
    residual = held.targets * scale - (half @ reached).reshape(held.kind.shape)
    by_structure = jnp.moveaxis(reached.reshape(-1, *held.kind.shape), 0, 1)  # [structure, rank, row]
    identity = jnp.eye(held.kind.shape[1], dtype=rows.dtype)
    without = identity - jnp.einsum("sfa,sfb->sab", by_structure, by_structure)
    error, spread = _solve(without, residual)
    return _balanced(error, spread, log_sigma + held.log_sigma, held.kind)


@eqx.filter_jit
def exact_score(
    log_levels: dict[str, Float[AnyArray, ""]],
    covariance: Float[AnyArray, "data data"],
    sigma: Float[AnyArray, " data"],
    kind: Int[AnyArray, " data"],
    targets: Float[AnyArray, " data"],
    places: Int[AnyArray, "structures rows"],
    names: tuple[str, ...],
) -> Float[AnyArray, ""]:
    """Score of an exact model; `places` lists each structure's observations, padded with the number of data."""
    variance = jnp.exp(log_levels["variance"])
    log_sigma = _log_sigma(log_levels, kind, names) + jnp.log(sigma)
    full = variance * covariance + jnp.diag(jnp.exp(2.0 * log_sigma))
    inverse = jax.scipy.linalg.cho_solve(
        (jnp.linalg.cholesky(full), True), jnp.eye(len(sigma), dtype=full.dtype)
    )
    # One more observation, of nothing: what padding points at.
    solved = jnp.append(inverse @ targets, 0.0)
    padded = jnp.pad(inverse, ((0, 1), (0, 1)))
    used = places < len(sigma)
    blocks = padded[places[:, :, None], places[:, None, :]]
    blocks = jnp.where(used[:, :, None] & used[:, None, :], blocks, jnp.eye(places.shape[1]))
    error, spread = _solve(blocks, solved[places] * used)
    kinds = jnp.where(used, jnp.append(kind, PADDING)[places], PADDING)
    return _balanced(error, spread, jnp.zeros_like(error), kinds)


def _log_sigma(log_levels: dict[str, Array], kind: Array, names: tuple[str, ...]) -> Array:
    values = jnp.array([log_levels.get(name, 0.0) for name in names] + [0.0])
    return values[jnp.where(kind == PADDING, len(names), kind)]


def _solve(blocks: Array, right: Array) -> tuple[Array, Array]:
    """B⁻¹ r and the diagonal of B⁻¹ for each block."""
    lower = jnp.linalg.cholesky(blocks)
    identity = jnp.broadcast_to(jnp.eye(blocks.shape[-1], dtype=blocks.dtype), blocks.shape)
    half = jax.scipy.linalg.solve_triangular(lower, identity, lower=True)
    spread = jnp.sum(half**2, axis=-2)
    return jnp.einsum("sba,sbc,sc->sa", half, half, right), spread


def _balanced(error: Array, spread: Array, log_unit: Array, kind: Array) -> Array:
    """Log density of what was left out, each kind weighted as if a structure's n rows of it were √n independent ones.

    Forces outnumber energies by hundreds, but errors of one structure go together: counted one by one, they would
    leave energies to chance.
    """
    log_density = -0.5 * (jnp.log(2.0 * jnp.pi * spread) + error**2 / spread) - log_unit
    indicator = kind[None] == jnp.arange(KINDS)[:, None, None]
    count = jnp.sum(indicator, axis=(1, 2))
    mean = jnp.sum(jnp.where(indicator, log_density, 0.0), axis=(1, 2)) / jnp.maximum(count, 1)
    structures = jnp.sum(jnp.any(indicator, axis=2), axis=1)
    return jnp.sum(mean * jnp.sqrt(count * structures))
