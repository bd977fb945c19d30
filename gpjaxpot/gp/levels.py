"""Signal variance and noise levels from the evidence, by L-BFGS in log-space."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.gp.evidence import exact_log_marginal_likelihood, whitened_log_marginal_likelihood

STEPS = 60
# Standard deviation of the prior on the logarithm of each level around its starting value, and the bound.
PRIOR_WIDTH = 4.0
BOUND = 7.0


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
    names: tuple[str | None, ...],
    targets: Float[AnyArray, " data"],
) -> Float[AnyArray, ""]:
    """Evidence of an exact model; `names` says which level multiplies each σ (None: none does)."""
    log_sigma = jnp.log(sigma)
    for name, value in log_levels.items():
        used = jnp.array([n == name for n in names])
        log_sigma = jnp.where(used, log_sigma + value, log_sigma)
    scaled = jnp.exp(log_levels["variance"]) * covariance
    return exact_log_marginal_likelihood(scaled, jnp.exp(2.0 * log_sigma), targets)


def maximise(
    evidence: Callable[[dict[str, Array]], Array],
    start: dict[str, float],
    free: tuple[str, ...],
    callback: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, float], float]:
    """Return the levels of highest evidence, and that evidence, from the levels `start`.

    Each logarithm has a weak normal prior around its start and cannot leave start ± 7; the best levels
    met are kept, and levels not in `free` stay as they are.
    """
    origin = {name: jnp.log(jnp.asarray(value, float)) for name, value in start.items()}
    if not free:
        return start, float(evidence(origin))

    def levels(x: Array) -> dict[str, Array]:
        bounded = BOUND * jnp.tanh(x / BOUND)
        return origin | {name: origin[name] + bounded[i] for i, name in enumerate(free)}

    def loss(x: Array) -> Array:
        return -evidence(levels(x)) + 0.5 * jnp.sum((x / PRIOR_WIDTH) ** 2)

    optimiser = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    @jax.jit
    def step(x: Array, state: optax.OptState):
        value, grad = value_and_grad(x, state=state)
        updates, state = optimiser.update(grad, state, x, value=value, grad=grad, value_fn=loss)
        return optax.apply_updates(x, updates), state, value, grad

    x = jnp.zeros(len(free))
    state = optimiser.init(x)
    best, best_value = x, jnp.inf
    for i in range(STEPS):
        moved, state, value, grad = step(x, state)
        if jnp.isfinite(value) and value < best_value:
            best, best_value = x, value
        if callback is not None:
            callback(i + 1, STEPS)
        if not jnp.all(jnp.isfinite(moved)) or float(jnp.max(jnp.abs(grad))) < 1e-3:
            break
        x = moved
    found = {name: float(jnp.exp(value)) for name, value in levels(best).items()}
    return found, float(evidence(levels(best)))
