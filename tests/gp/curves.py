"""Kernels of points on a line and in a plane, as structure kernels: acceptance cases by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from gpjaxpot.covariance import blocks
from gpjaxpot.kernels import SquaredExponential


def squared_exponential(sigma, ell):
    """Return σ² exp(−|a − b|²/2ℓ²) as a structure kernel."""
    kernel = sigma**2 * SquaredExponential(ell)
    return lambda a, b: kernel.evaluate(a, b)


def covariance(kernel, first, second) -> np.ndarray:
    """Prior covariance of two lists of (kind, place), kind "E" or "F" (all components)."""
    rows = [np.concatenate([_block(kernel, a, b) for b in second], axis=1) for a in first]
    return np.concatenate(rows)


_joint = jax.jit(blocks.joint, static_argnums=0)
_ROWS = {"E": slice(0, 1), "F": slice(1, None)}


def _block(kernel, a, b) -> np.ndarray:
    places = (jnp.atleast_1d(jnp.asarray(place, float)) for _, place in (a, b))
    return np.asarray(_joint(kernel, *places))[_ROWS[a[0]], _ROWS[b[0]]]


def energies(*places):
    """Return energy observations at places."""
    return [("E", place) for place in places]


def forces(*places):
    """Return force observations at places."""
    return [("F", place) for place in places]
