r"""What each neighbour's displacement does to the expansion coefficients of a density, before spectra are made of them.

The displacement r of a neighbour of species s moves a component f of a projected spectrum by

    $\partial f/\partial r = \sum_{nlm} T_{f,nlm}\, \partial b_{nlm}/\partial r$,
    $T_{f,nlm} = \sum_{q'} W_{f,(sn)q'l}\, c_{q'lm}$,

with its own share b in the coefficients, $W$ the direction f as a symmetric matrix of channels, and $T$ the same
for all neighbours of that species.  Of several species a spectrum has many more entries than b, so that this is less
work than its derivatives and their projection: n (l+1)² numbers for a neighbour instead of
(l+1) C (C+1)/2, where C = species × n.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.descriptors.staged import (
    Expansion,
    by_coefficients,
    expand,
    harmonic_slopes,
    radial_functions,
    slot_slices,
    unit_vectors,
)


class CoefficientMoves(eqx.Module):
    """Spectra of some atoms, of unit length, and what their derivatives are made of.

    Shares of neighbours have atoms before slots, so that the numbers of one atom are a matrix of even strides.
    """

    spectrum: Float[Array, "spectrum atoms"]
    norm: Float[Array, " atoms"]
    """Length of the spectrum before it was divided by it."""
    coefficients: list[Float[Array, "atoms _ channels"]]
    shares: list[Float[Array, "shares atoms 3 _"]]
    """Derivatives of neighbours' shares in the coefficients of their species, ordered by (l, m, n), 1/Å; one array for
    each species."""
    along: list[Float[Array, "atoms 3 _"]]
    """Derivatives of the length, 1/Å."""


def coefficient_moves(
    soap: SOAP,
    displacements: Float[Array, "3 slots atoms"],
    mask: Bool[Array, "slots atoms"],
    centres: Int[Array, " atoms"],
    slots: tuple[int, ...],
) -> CoefficientMoves:
    """Moves of some atoms, a few at a time, under a SOAP that divides spectra by their length."""
    parts = expand(soap, displacements, mask, centres, slots)
    towards_length = by_coefficients(soap, parts.spectrum, parts.coefficients)
    shares = _shares(soap, parts, slots)
    along = []
    for s, moves in enumerate(shares):
        n = slice(s * soap.n_max, (s + 1) * soap.n_max)
        weights = jnp.concatenate([jnp.swapaxes(t[n], 0, 1).reshape(-1, t.shape[2]) for t in towards_length])
        along.append(jnp.sum(weights[:, :, None, None] * moves, axis=0))
    coefficients = [jnp.transpose(c, (2, 1, 0)) for c in parts.coefficients]
    return CoefficientMoves(parts.spectrum, parts.norm, coefficients, shares, along)


def _shares(soap: SOAP, parts: Expansion, slots: tuple[int, ...]) -> list[Float[Array, "shares atoms 3 _"]]:
    """Derivatives of h_nl(r) Y_lm: h' r̂ Y + h ∂Y."""
    unit = unit_vectors(parts)
    blocks: list[list[Array]] = [[] for _ in slots]
    for l, (value, slope) in enumerate(radial_functions(soap, parts)):
        outer = jnp.einsum("mka,bka->mbka", parts.harmonics[l], unit)
        small = [slope, outer]
        if l:
            small += [value, harmonic_slopes(soap, parts, l)]
        # Turned before the products are made, which are larger: the compiler would turn those.
        turned = jax.lax.optimization_barrier([jnp.moveaxis(x, -1, -2) for x in small])
        for s, here in enumerate(slot_slices(slots)):
            h, y = (x[..., here] for x in turned[:2])
            made = h[None, :, :, None] * jnp.moveaxis(y, 1, 2)[:, None]
            if l:
                h, y = (x[..., here] for x in turned[2:])
                made = made + h[None, :, :, None] * jnp.moveaxis(y, 1, 2)[:, None]
            blocks[s].append(made.reshape(-1, *made.shape[2:]))
    return [jnp.concatenate(block) for block in blocks]
