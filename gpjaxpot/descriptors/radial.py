r"""Orthonormal Gaussian-type radial basis, and the closed form of a Gaussian density on it.

Primitives $r^l e^{-\alpha_{ln} r^2}$, Löwdin-orthonormalised under $\int_0^\infty r^2 dr$.  A neighbour at R
is a Gaussian $e^{-\eta|r-R|^2}$, $\eta = 1/2\sigma^2$; its overlap with a primitive times $Y_{lm}$ is

    $(\pi/(\eta+\alpha))^{3/2} (\eta/(\eta+\alpha))^l R^l Y_{lm}(R) \exp(-\eta\alpha R^2/(\eta+\alpha))$,

so no Bessel functions appear and everything is smooth at R = 0.
Source: Himanen et al., Comput. Phys. Commun. 247, 106949 (2020), eqs. 17–21 (exponents and basis).
"""

from math import lgamma

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# A primitive has decayed to this value at the radius that names it.
DECAY_THRESHOLD = 1e-3
# Smallest of those radii, in Å.
INNER_RADIUS = 1.0


class RadialBasis(eqx.Module):
    """What the expansion needs of the radial basis, made anew from cutoff and σ by `gto_basis`."""

    decay: Float[Array, "l n"]
    """Exponent of the projected Gaussian in R², 1/Å²."""
    mixing: Float[Array, "l n n"]
    """Primitive → orthonormal; carries the prefactors and `length`^l of the scaled harmonics."""
    length: Float[Array, ""]
    """Displacements are divided by this length (Å) before the harmonics are taken."""


def gto_exponents(n_max: int, l_max: int, cutoff: Float[Array, ""]) -> Float[Array, "l n"]:
    """Exponents (1/Å²) at which r^l e^{−αr²} falls to 1e-3 at radii spread from 1 Å to `cutoff`."""
    radii = INNER_RADIUS + (cutoff - INNER_RADIUS) * jnp.linspace(0.0, 1.0, n_max)
    l = jnp.arange(l_max + 1.0)[:, None]
    return (l * jnp.log(radii) - jnp.log(DECAY_THRESHOLD)) / radii**2


def orthonormalisation(exponents: Float[Array, "l n"]) -> Float[Array, "l n n"]:
    """Löwdin matrices S^(−1/2) of the primitives' overlap on [0, ∞), one for each l."""
    l = np.arange(exponents.shape[0])
    half_gamma = jnp.asarray([0.5 * np.exp(lgamma(k + 1.5)) for k in l], exponents.dtype)
    pair = exponents[:, :, None] + exponents[:, None, :]
    power = jnp.asarray(l + 1.5, exponents.dtype)[:, None, None]
    overlap = half_gamma[:, None, None] / pair**power
    values, vectors = jnp.linalg.eigh(overlap)
    return jnp.einsum("lab,lb,lcb->lac", vectors, values**-0.5, vectors)


def gto_basis(
    n_max: int, l_max: int, cutoff: Float[Array, ""], sigma: Float[Array, ""]
) -> RadialBasis:
    """Radial basis for Gaussians of width `sigma` (Å), differentiable in `cutoff` and `sigma`."""
    alpha = gto_exponents(n_max, l_max, cutoff)
    eta = 0.5 / sigma**2
    l = jnp.arange(l_max + 1.0)[:, None]
    prefactor = (jnp.pi / (eta + alpha)) ** 1.5 * (eta * cutoff / (eta + alpha)) ** l
    mixing = orthonormalisation(alpha) * prefactor[:, None, :]
    return RadialBasis(eta * alpha / (eta + alpha), mixing, jnp.asarray(cutoff))
