"""Evidence as a function of the signal variance and of the noise levels."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.gp.evidence import exact_log_marginal_likelihood, whitened_log_marginal_likelihood


class Weighted(eqx.Module):
    """Normal equations of one observable, its noise level being 1; `fixed` ones have their noise already."""

    gram: Float[AnyArray, "rank rank"]
    projected: Float[AnyArray, " rank"]
    square: Float[AnyArray, ""]
    log_noise: Float[AnyArray, ""]
    count: int = eqx.field(static=True)
    fixed: bool = eqx.field(static=True)


@eqx.filter_jit
def sparse_evidence(
    log_levels: dict[str, Float[AnyArray, ""]], parts: dict[str, Weighted]
) -> Float[AnyArray, ""]:
    """Evidence of a sparse model at given log noise levels and log signal variance ("variance")."""
    return whitened_log_marginal_likelihood(*normal_equations(log_levels, parts))


def normal_equations(
    log_levels: dict[str, Float[AnyArray, ""]], parts: dict[str, Weighted]
) -> tuple[Array, Array, Array, Array, int]:
    """Noise-weighted AᵀA, Aᵀy and yᵀy, sum of log σ², and number, of all observations together."""
    variance = jnp.exp(log_levels["variance"])
    gram, projected, square, log_noise, count = 0.0, 0.0, jnp.zeros(()), jnp.zeros(()), 0
    for name, part in parts.items():
        log_sigma = jnp.zeros(()) if part.fixed else log_levels[name]
        precision = jnp.exp(-2.0 * log_sigma)
        gram = gram + precision * variance * part.gram
        projected = projected + precision * jnp.sqrt(variance) * part.projected
        square = square + precision * part.square
        log_noise = log_noise + part.log_noise + 2.0 * part.count * log_sigma
        count += part.count
    return jnp.asarray(gram), jnp.asarray(projected), square, log_noise, count


@eqx.filter_jit
def exact_evidence(
    log_levels: dict[str, Float[AnyArray, ""]],
    covariance: Float[AnyArray, "data data"],
    sigma: Float[AnyArray, " data"],
    kind: Int[AnyArray, " data"],
    targets: Float[AnyArray, " data"],
    names: tuple[str, ...],
) -> Float[AnyArray, ""]:
    """Evidence of an exact model; `kind` is the place among `names` of the level that multiplies each σ, their
    number where none does.
    """  # fmt: skip
    log_sigma = jnp.log(sigma) + log_factor(log_levels, kind, names)
    scaled = jnp.exp(log_levels["variance"]) * covariance
    return exact_log_marginal_likelihood(scaled, jnp.exp(2.0 * log_sigma), targets)


def log_factor(
    log_levels: dict[str, Float[AnyArray, ""]], kind: Int[AnyArray, "*data"], names: tuple[str, ...]
) -> Float[Array, "*data"]:
    """Logarithm of the level that multiplies each σ: that of the name whose place `kind` is, 0 for any other kind."""
    values = jnp.array([log_levels.get(name, 0.0) for name in names] + [0.0])
    return values[jnp.where((kind >= 0) & (kind < len(names)), kind, len(names))]
