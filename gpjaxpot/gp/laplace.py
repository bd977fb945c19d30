r"""The normal distribution that touches a log density of logarithms at its maximum.

With the maximum $\hat x$ and $A = -\nabla\nabla \log p(\hat x)$ it is $N(\hat x, A^{-1})$.
Source: MacKay, *Information Theory, Inference, and Learning Algorithms* (2003), ch. 27.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.errors import InputError

LogDensity = Callable[[dict[str, Float[Array, ""]]], Float[Array, ""]]
# Newton's steps, each no longer than LONGEST in any logarithm and halved until it gains.
STEPS = 50
LONGEST = 1.0
HALVINGS = 12
# Half the squared slope in units of the width: how far below the maximum the search may end, and still be at it.
CONVERGED = 1e-9
ACCEPTED = 1e-3
# Around a maximum each logarithm is tried at these distances: an evidence may have several maxima.
SCAN = np.arange(-8.0, 9.0)


@dataclass(frozen=True)
class Laplace:
    """Normal distribution of logarithms."""

    names: tuple[str, ...]
    mode: Float[np.ndarray, " names"]
    covariance: Float[np.ndarray, "names names"]
    log_density: float
    """Of the maximum."""

    @property
    def root(self) -> Float[np.ndarray, "names names"]:
        """L with L Lᵀ the covariance."""
        return np.linalg.cholesky(self.covariance)

    def points(self, n: int, seed: int) -> Float[np.ndarray, "n names"]:
        """`n` random points whose mean and covariance are exactly those of the distribution.

        They come in pairs on both sides of the maximum, so that all odd moments are right, too.  Of twice as many
        points as names they are a cubature of third degree, randomly turned.
        Source: Arasaratnam & Haykin, IEEE Trans. Autom. Control 54, 1254 (2009), eq. 32.

        Raises:
            InputError: if `n` is odd or less than twice the number of names.
        """
        d = len(self.names)
        if n % 2 or n < 2 * d:
            raise InputError(
                f"{n} members cannot have the mean and covariance of {d} uncertain levels ({', '.join(self.names)}): "
                f"give an even number, at least {2 * d}"
            )
        z = np.random.default_rng(seed).normal(size=(n // 2, d))
        u, _, vt = np.linalg.svd(z, full_matrices=False)
        z = u @ vt * np.sqrt(n / 2)  # zᵀz = n/2, the nearest such to what was drawn
        return self.mode + np.concatenate([z, -z]) @ self.root.T

    def misfit(self, log_density: LogDensity, points: Float[np.ndarray, "n names"]) -> float:
        """Largest difference between the density's logarithm and the parabola, at `points`."""
        value = jax.jit(as_vector(log_density, self.names))
        worst = 0.0
        for x in points:
            z = np.linalg.solve(self.root, x - self.mode)
            worst = max(worst, abs(float(value(jnp.asarray(x))) - self.log_density + 0.5 * float(z @ z)))
        return worst


def laplace(
    log_density: LogDensity, begin: Mapping[str, float], callback: Callable[[int, int], None] | None = None
) -> Laplace:
    """Return the normal distribution at the maximum of `log_density`.

    That of the highest maximum found: from `begin`, and from wherever the density rises again along an axis.

    Args:
        log_density: twice differentiable function of the logarithms, with their prior.
        begin: the positive numbers where Newton's method starts.
        callback: called as ``callback(done, steps)``.

    Raises:
        InputError: if no maximum is found, or the density is not curved downwards in all directions there.
    """
    first = climb(log_density, begin, callback)
    found, value = first, jax.jit(as_vector(log_density, first.names))
    for direction in np.eye(len(first.names)):
        places = first.mode + SCAN[:, None] * direction
        heights = np.array([float(value(jnp.asarray(x))) for x in places])
        heights = np.where(np.isfinite(heights), heights, -np.inf)
        inner = heights[1:-1]
        for k in 1 + np.flatnonzero((inner > heights[:-2]) & (inner > heights[2:]) & (abs(SCAN[1:-1]) > 0)):
            try:
                other = climb(log_density, dict(zip(first.names, np.exp(places[k]), strict=True)))
            except InputError:
                continue
            found = max(found, other, key=lambda normal: normal.log_density)
    return found


def climb(
    log_density: LogDensity, begin: Mapping[str, float], callback: Callable[[int, int], None] | None = None
) -> Laplace:
    """Return the normal distribution at the maximum that Newton's method reaches from `begin`; see `laplace`."""
    names = tuple(begin)
    function = as_vector(log_density, names)
    value, slope = jax.jit(function), jax.jit(jax.grad(function))
    identity = jnp.eye(len(names))
    # One direction after the other: with all at once memory would grow by their number.
    curvature = jax.jit(lambda x: jax.lax.map(lambda v: jax.jvp(jax.grad(function), (x,), (v,))[1], identity))
    x = jnp.asarray(np.log([begin[n] for n in names]))
    best, decrement = float(value(x)), np.inf
    for step in range(STEPS):
        if callback is not None:
            callback(step, STEPS)
        gradient, precision = np.asarray(slope(x)), -np.asarray(curvature(x))
        precision = 0.5 * (precision + precision.T)
        if not (np.isfinite(best) and np.all(np.isfinite(gradient)) and np.all(np.isfinite(precision))):
            raise InputError(_message(names, x, "the evidence or its slope is not finite"))
        values, vectors = np.linalg.eigh(precision)
        along = vectors.T @ gradient
        decrement = 0.5 * float(np.sum(along**2 / np.maximum(np.abs(values), 1e-12)))
        if decrement < CONVERGED and values[0] > 0:
            break
        # Uphill whatever the curvature.
        move = vectors @ (along / np.maximum(np.abs(values), 1e-6))
        move *= min(1.0, LONGEST / max(float(np.max(np.abs(move))), 1e-300))
        gained = False
        for _ in range(HALVINGS):
            tried = float(value(x + move))
            if np.isfinite(tried) and tried > best:
                x, best, gained = x + move, tried, True
                break
            move = 0.5 * move
        if not gained:
            break
    if callback is not None:
        callback(STEPS, STEPS)
    precision = -np.asarray(curvature(x))
    precision = 0.5 * (precision + precision.T)
    if not decrement < ACCEPTED:
        raise InputError(_message(names, x, "no maximum of the evidence is found"))
    lowest = np.linalg.eigvalsh(precision)[0]
    if not lowest > 0:
        raise InputError(_message(names, x, f"the evidence is not curved downwards (lowest curvature {lowest:.2g})"))
    return Laplace(names, np.asarray(x), np.linalg.inv(precision), best)


def as_vector(log_density: LogDensity, names: tuple[str, ...]) -> Callable[[Array], Array]:
    """`log_density` as a function of a vector of logarithms."""
    return lambda x: log_density(dict(zip(names, x, strict=True)))


def with_prior(
    evidence: LogDensity, centre: Mapping[str, float], width: float
) -> LogDensity:
    """Log density of the logarithms: evidence times normal priors of `width` around log `centre`."""
    middle = {name: float(np.log(v)) for name, v in centre.items()}

    def log_density(x: dict[str, Float[Array, ""]]) -> Float[Array, ""]:
        distance = jnp.stack([(x[name] - middle[name]) / width for name in middle])
        return evidence(x) - 0.5 * jnp.sum(distance**2)

    return log_density


def _message(names: tuple[str, ...], x: AnyArray, what: str) -> str:
    where = ", ".join(f"{n} = {v:.3g}" for n, v in zip(names, np.exp(np.asarray(x)), strict=True))
    return (
        f"{what} at {where}, so there is no normal distribution of the levels: use hyper.method=nuts, or give one "
        "of these levels instead of auto"
    )
