"""Kernels of the distance between two feature vectors."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gpjaxpot.errors import InputError
from gpjaxpot.kernels.abstract import AbstractKernel


class SquaredExponential(AbstractKernel):
    r"""$\exp(-|p-q|^2 / 2\ell^2)$; ℓ in units of the (unit-length) feature vectors.

    Source: Rasmussen & Williams, *Gaussian Processes for Machine Learning* (2006), eq. 4.9.
    """

    length_scale: Float[Array, ""]

    def __init__(self, length_scale: float | Float[Array, ""] = 1.0):
        """Keep the length scale."""
        self.length_scale = _checked_length(length_scale)

    @property
    def cosine(self) -> bool:
        """True: unit vectors at cosine t are √(2 − 2t) apart."""
        return True

    def evaluate(self, p: Float[Array, " features"], q: Float[Array, " features"]) -> Array:
        """Covariance at the distance of p and q."""
        return jnp.exp(-0.5 * jnp.sum((p - q) ** 2) / self.length_scale**2)

    def profile(self, t: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """exp((t − 1)/ℓ²)."""
        return jnp.exp((t - 1.0) / self.length_scale**2)


class Matern52(AbstractKernel):
    r"""$(1 + x + x^2/3) e^{-x}$ with $x = \sqrt 5 |p-q|/\ell$.

    It is a function of x² with two bounded derivatives, and is differentiated as that: the covariance of
    forces is right where two environments coincide, where differentiating |p−q| gives 0 or NaN.
    Source: Rasmussen & Williams (2006), eq. 4.17.
    """

    length_scale: Float[Array, ""]

    def __init__(self, length_scale: float | Float[Array, ""] = 1.0):
        """Keep the length scale."""
        self.length_scale = _checked_length(length_scale)

    @property
    def cosine(self) -> bool:
        """True: unit vectors at cosine t are √(2 − 2t) apart."""
        return True

    def evaluate(self, p: Float[Array, " features"], q: Float[Array, " features"]) -> Array:
        """Covariance at the distance of p and q."""
        return _matern(5.0 * jnp.sum((p - q) ** 2) / self.length_scale**2)

    def profile(self, t: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """Covariance at the squared distance 2 − 2t."""
        return _matern(10.0 * (1.0 - t) / self.length_scale**2)


def _root(s: Array) -> Array:
    positive = s > 0  # round-off may leave a squared distance a little below zero
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, s, 1.0)), 0.0)


@jax.custom_jvp
def _matern(s: Array) -> Array:
    x = _root(s)
    return (1.0 + x + x * x / 3.0) * jnp.exp(-x)


@_matern.defjvp
def _matern_jvp(primals, tangents):
    (s,), (ds,) = primals, tangents
    return _matern(s), _matern_slope(s) * ds


@jax.custom_jvp
def _matern_slope(s: Array) -> Array:
    """Derivative of `_matern` by s = x²."""
    x = _root(s)
    return -(1.0 + x) * jnp.exp(-x) / 6.0


@_matern_slope.defjvp
def _matern_slope_jvp(primals, tangents):
    (s,), (ds,) = primals, tangents
    return _matern_slope(s), jnp.exp(-_root(s)) / 12.0 * ds


def _checked_length(length_scale: float | Array) -> Array:
    if isinstance(length_scale, (int, float)) and not length_scale > 0:
        raise InputError(f"length_scale must be positive, got {length_scale}")
    return jnp.asarray(length_scale, float)
