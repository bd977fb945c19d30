"""Maximising a function of positive numbers, in their logarithms, between bounds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

# A logarithm moves by no more than this in one step, and by this much in the first.
LONGEST = 1.0
FIRST = 0.3
# A step is taken if it gains this share of what the slope promises, and halved so many times otherwise.
SUFFICIENT = 1e-4
HALVINGS = 8


@dataclass(frozen=True)
class Range:
    """A positive number: where its search starts, its bounds, and a normal prior on its logarithm.

    The prior has a width and a middle, which is the start if it is not given.
    """

    start: float
    low: float
    high: float
    prior: float = np.inf
    middle: float | None = None


def maximise(
    objective: Callable[[dict[str, Float[Array, ""]]], Float[Array, ""]],
    ranges: Mapping[str, Range],
    steps: int = 60,
    tolerance: float = 1e-3,
    callback: Callable[[int, int], None] | None = None,
    restarts: int = 0,
    seed: int = 0,
) -> tuple[dict[str, float], float]:
    """Return the numbers of the highest value met, priors included, and that value without them.

    Args:
        objective: differentiable function of the logarithms; what is not finite counts as worse than anything.
        ranges: each number's start, bounds and prior; the bounds are never left, and hardly reached.
        steps: the most evaluations of one search.
        tolerance: gain of a step at which a search ends.
        callback: called as ``callback(done, total)``.
        restarts: further searches, from places that are drawn from the priors, as far as the bounds allow, and evenly
            between these where there is no prior.  The best of all is returned, the first where they tie.
        seed: of these places.

    L-BFGS (optax) with steps halved until they gain enough.  Deterministic: no clock decides.
    """
    names = list(ranges)
    if not names:
        return {}, float(objective({}))
    low = np.log([ranges[n].low for n in names])
    width = np.log([ranges[n].high for n in names]) - low
    origin = np.log([ranges[n].start for n in names])
    middle = np.log([ranges[n].start if (m := ranges[n].middle) is None else m for n in names])
    strength = np.array([1.0 / ranges[n].prior for n in names])

    def logarithms(x: Array) -> Array:
        return jnp.asarray(low + width * jax.nn.sigmoid(4.0 * x / width))  # the slope is 1 in the middle

    def loss(x: Array) -> tuple[Array, Array]:
        y = logarithms(x)
        value = objective(dict(zip(names, y, strict=True)))
        return -value + 0.5 * jnp.sum((strength * (y - middle)) ** 2), value

    def unbounded(y: np.ndarray) -> Array:
        share = np.clip((y - low) / width, 1e-3, 1.0 - 1e-3)
        return jnp.asarray(width / 4.0 * np.log(share / (1.0 - share)))

    starts = [unbounded(origin)]
    rng = np.random.default_rng(seed)
    spread = np.array([p if np.isfinite(p := ranges[n].prior) else 0.0 for n in names])
    for _ in range(restarts):
        even, normal = low + width * rng.random(len(names)), middle + spread * rng.normal(size=len(names))
        starts.append(unbounded(np.where(strength > 0, normal, even)))
    # The data that the objective holds become arguments.  Left in the program, they were folded into it by the
    # compiler, and the 57 MB of a small fit were stored with it.
    slopes = eqx.filter_closure_convert(jax.value_and_grad(loss, has_aux=True), starts[0])
    evaluate = partial(eqx.filter_jit(lambda f, x: f(x)), slopes)
    best: tuple[float, Array, float] | None = None
    for k, first in enumerate(starts):

        def report(done: int, first: int = k * steps) -> None:
            if callback is not None:
                callback(first + done, len(starts) * steps)

        x, least, value = _descend(evaluate, first, steps, tolerance, report)
        if best is None or least < best[0] or (np.isfinite(least) and not np.isfinite(best[0])):
            best = least, x, value
    assert best is not None
    return dict(zip(names, (float(v) for v in jnp.exp(logarithms(best[1]))), strict=True)), best[2]


def _descend(
    evaluate: Callable[[Array], tuple[tuple[Array, Array], Array]],
    x: Array,
    steps: int,
    tolerance: float,
    report: Callable[[int], None],
) -> tuple[Array, float, float]:
    """Where one search from `x` ends, its loss there, and what goes with that."""
    direction_of = optax.scale_by_lbfgs()
    update = jax.jit(direction_of.update)
    state = direction_of.init(x)
    (best, value), grad = evaluate(x)
    done = 1
    while done < steps and np.isfinite(best) and float(jnp.max(jnp.abs(grad))) > 1e-6:
        report(done)
        direction, state = update(grad, state, x)
        direction = -direction
        slope = float(jnp.vdot(direction, grad))
        if not np.isfinite(slope) or slope >= 0:  # forget the curvature: it points uphill
            state, direction, slope = direction_of.init(x), -grad, -float(jnp.vdot(grad, grad))
        step = min(1.0, (FIRST if done == 1 else LONGEST) / float(jnp.max(jnp.abs(direction))))
        better = None
        for _ in range(min(HALVINGS, steps - done)):
            (tried, tried_value), tried_grad = evaluate(x + step * direction)
            done += 1
            if np.isfinite(tried) and tried <= best + SUFFICIENT * step * slope:
                better = x + step * direction, tried, tried_value, tried_grad
                break
            step *= 0.5
        if better is None:
            break
        gain = float(best - better[1])
        x, best, value, grad = better
        if gain < tolerance:
            break
    report(steps)
    return x, float(best), float(value)
