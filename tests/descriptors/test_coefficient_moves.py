"""Moves of expansion coefficients equal those of automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.descriptors.coefficient_moves import coefficient_moves
from gpjaxpot.structures.structure import Structure
from tests.systems import WATER, batch_of, quick_jit, small_soap, structure

SLOTS = (16, 20)


@quick_jit
def both(soap, batch):
    r = batch.displacements()

    def made(r):
        coefficients = soap.coefficients(r, batch.mask, batch.species, batch.slots)
        return coefficients, jnp.sqrt(jnp.sum(soap.power_spectrum(coefficients) ** 2, axis=0))

    # An atom's own displacements move nothing but its own.
    slopes, lengths = jax.jacfwd(made)(r)
    plain = [jnp.einsum("qmabka->qmabk", slope) for slope in slopes], jnp.einsum("abka->abk", lengths), *made(r)
    return plain, coefficient_moves(soap, r, batch.mask, batch.species, batch.slots)


@pytest.mark.parametrize(
    "shown", [structure(WATER, 3), Structure([[0, 0, 0], [0, 0, 2.0], [2.1, 0, 2.8]], [1, 8, 8])], ids=["any", "on z"]
)
def test_equal_automatic_differentiation(shown):
    soap = small_soap(WATER, radial_scale=2.0)
    batch = batch_of(shown, WATER, soap.reach, slots=SLOTS, atoms=4)
    (slopes, lengths, coefficients, norm), made = both(soap, batch)
    np.testing.assert_allclose(made.norm, norm, rtol=1e-12)
    first = 0
    for s, (shares, along) in enumerate(zip(made.shares, made.along, strict=True)):
        here, n = slice(first, first + SLOTS[s]), slice(s * soap.n_max, (s + 1) * soap.n_max)
        ordered = [np.swapaxes(np.asarray(slope)[n, ..., here], 0, 1) for slope in slopes]
        plain = np.concatenate([o.reshape(-1, *o.shape[2:]) for o in ordered])
        assert np.abs(plain).max() > 0.01
        np.testing.assert_allclose(shares, plain, atol=1e-10 * np.abs(plain).max(), rtol=0)
        np.testing.assert_allclose(along, np.asarray(lengths)[..., here], atol=1e-10 * np.abs(lengths).max(), rtol=0)
        first += SLOTS[s]
    for ours, plain in zip(made.coefficients, coefficients, strict=True):
        np.testing.assert_allclose(ours, np.transpose(plain, (2, 1, 0)), atol=1e-13)
