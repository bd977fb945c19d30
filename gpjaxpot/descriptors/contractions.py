"""Sums of the expansion and its reverse pass, written out for a CPU's vector units.

A sum over neighbours, radial functions or m is short and there is one for each atom: as batched matrix products they
are copied into another order and run at a tenth of the machine's rate.  Written out term by term, with the atoms as
the innermost loop, they need no copy.  Other devices take the products as they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array, Float

from gpjaxpot.descriptors.harmonics import gradient_matrices
from gpjaxpot.devices import on_cpu

# Longest sum over neighbours that is written out in one program.
BLOCK = 48


def written_out() -> bool:
    """Whether sums are written out: on a CPU."""
    return on_cpu()


def apart(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile `function` as a program of its own within the one that calls it.

    The CPU compiler otherwise merges what is written out with what uses it, and computes it anew for each use.
    """
    compiled = jax.jit(function, inline=False)

    def call(*arguments: Any) -> Any:
        with set_xla_metadata(inlineable="false"):
            return compiled(*arguments)

    return call


def over_neighbours(
    radial: Float[Array, "n slots atoms"], angular: Float[Array, "m slots atoms"]
) -> Float[Array, "n m atoms"]:
    """Products of the radial functions and the harmonics of each neighbour, summed over neighbours."""
    if not written_out():
        return jnp.einsum("nka,mka->nma", radial, angular)
    parts = [
        _over_neighbours(radial[:, k : k + BLOCK], angular[:, k : k + BLOCK]) for k in range(0, radial.shape[1], BLOCK)
    ]
    return _sum(parts)


def over_orders(
    by_primitive: Float[Array, "n m atoms"],
    angular: Float[Array, "m slots atoms"],
    radial: Float[Array, "n slots atoms"],
) -> Float[Array, "n slots atoms"]:
    """Radial functions times what they are multiplied by: sums over m."""
    if not written_out():
        return radial * jnp.einsum("nma,mka->nka", by_primitive, angular)
    return _over_orders(by_primitive, angular, radial)


def over_radial(
    by_primitive: Float[Array, "n m atoms"], radial: Float[Array, "n slots atoms"]
) -> Float[Array, "m slots atoms"]:
    """Derivative by each harmonic of each neighbour: sums over n."""
    if not written_out():
        return jnp.einsum("nma,nka->mka", by_primitive, radial)
    return _over_radial(by_primitive, radial)


def over_channels(
    by_pair: Float[Array, "q p atoms"], coefficients: Float[Array, "p m atoms"]
) -> Float[Array, "q m atoms"]:
    """Derivative by each coefficient, from that by each product of two."""
    if not written_out():
        return jnp.einsum("qpa,pma->qma", by_pair, coefficients)
    return _over_channels(by_pair, coefficients)


def products(coefficients: Float[Array, "q m atoms"]) -> Float[Array, "q q atoms"]:
    """Products of all pairs of channels, summed over m."""
    if not written_out():
        return jnp.einsum("qma,pma->qpa", coefficients, coefficients)
    return _products(coefficients)


def along(
    product: Float[Array, "n slots atoms"],
    decay: Float[Array, " n"],
    along_r: Float[Array, "slots atoms"],
    along_r2: Float[Array, "slots atoms"],
) -> tuple[Float[Array, "slots atoms"], Float[Array, "slots atoms"]]:
    """Add the sum over radial functions to `along_r`, that weighed by their decay to `along_r2`."""
    if not written_out():
        return along_r + jnp.sum(product, axis=0), along_r2 + jnp.tensordot(decay, product, 1)
    return _along(product, decay, along_r, along_r2)


def by_direction(
    by_harmonic: Float[Array, "m slots atoms"],
    lower: Float[Array, "_ slots atoms"],
    *to: Float[Array, "slots atoms"],
) -> tuple[Float[Array, "slots atoms"], ...]:
    """Add to the three arrays the derivative by x, y and z, from that by each harmonic; `lower` are those of l − 1."""
    if not written_out():
        matrices = jnp.asarray(gradient_matrices(by_harmonic.shape[0] // 2), lower.dtype)
        turned = jnp.sum(jnp.tensordot(matrices, by_harmonic, ((1,), (0,))) * lower, axis=1)
        return tuple(a + b for a, b in zip(to, turned, strict=True))
    return _by_direction(by_harmonic, lower, *to)


def _sum(terms: Sequence[Array]) -> Array:
    """Sum in two chains, which a processor works on side by side."""
    chains = list(terms[:2])
    for i, term in enumerate(terms[2:]):
        chains[i % 2] = chains[i % 2] + term
    return chains[0] if len(chains) == 1 else chains[0] + chains[1]


@apart
def _over_neighbours(radial: Array, angular: Array) -> Array:
    return _sum([radial[:, None, k] * angular[None, :, k] for k in range(radial.shape[1])])


@apart
def _over_orders(by_primitive: Array, angular: Array, radial: Array) -> Array:
    return radial * _sum([by_primitive[:, m, None] * angular[None, m] for m in range(angular.shape[0])])


@apart
def _over_radial(by_primitive: Array, radial: Array) -> Array:
    return _sum([by_primitive[n, :, None] * radial[n, None] for n in range(radial.shape[0])])


@apart
def _over_channels(by_pair: Array, coefficients: Array) -> Array:
    return _sum([by_pair[:, p, None] * coefficients[None, p] for p in range(coefficients.shape[0])])


@apart
def _products(coefficients: Array) -> Array:
    return _sum([coefficients[:, None, m] * coefficients[None, :, m] for m in range(coefficients.shape[1])])


@apart
def _along(product: Array, decay: Array, along_r: Array, along_r2: Array) -> tuple[Array, Array]:
    n = range(product.shape[0])
    return along_r + _sum([product[i] for i in n]), along_r2 + _sum([decay[i] * product[i] for i in n])


@apart
def _by_direction(by_harmonic: Array, lower: Array, *to: Array) -> tuple[Array, ...]:
    made = []
    for start, matrix in zip(to, gradient_matrices(by_harmonic.shape[0] // 2), strict=True):
        terms = []
        for n in np.flatnonzero(matrix.any(axis=0)):  # a column has two entries, or fewer
            column = [float(matrix[m, n]) * by_harmonic[m] for m in np.flatnonzero(matrix[:, n])]
            terms.append(_sum(column) * lower[n])
        made.append(start + _sum(terms))
    return tuple(made)
