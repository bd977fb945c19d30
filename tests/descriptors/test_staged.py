"""The arranged derivatives of SOAP equal those of automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.descriptors.staged import expand, jacobian, pullback
from gpjaxpot.errors import InputError
from gpjaxpot.structures.structure import Structure
from tests.systems import SILICON, WATER, batch_of, features, projected, quick_jit, small_soap, structure

CASES = {
    "one species": (SILICON, {"l_max": 3}),
    "two species, radially weighted": (WATER, {"radial_scale": 2.0}),
    "DScribe's form": (WATER, {"dscribe": True}),
}


@quick_jit
def both(soap, batch, cotangent):
    r = batch.displacements()

    def descriptor(r):
        return soap(r, batch.mask, batch.species, batch.slots)

    value, back = jax.vjp(descriptor, r)
    full = jax.jacfwd(descriptor)(r)
    plain = value, jnp.einsum("dabka->dbka", full), back(cotangent)[0]
    parts = expand(soap, r, batch.mask, batch.species, batch.slots, written_out=True)
    plain = (value, *plain)
    staged = (
        expand(soap, r, batch.mask, batch.species, batch.slots).features,
        parts.features,
        jacobian(soap, parts, batch.slots),
        pullback(soap, parts, cotangent, batch.slots),
    )
    return plain, staged


def test_equal_where_the_spectrum_is_projected():
    compare(projected(small_soap(WATER), 9), structure(WATER, 3), (20, 20))


def test_projection_is_taken_for_each_species_by_itself():
    """Directions of one species do not touch atoms of the other, and the features are components along them."""
    soap = small_soap(WATER)
    s = structure(WATER, 4)
    ours, whole = features(projected(soap, 9), s), features(soap, s)
    directions = np.asarray(projected(soap, 9).projection)
    for row, full, number in zip(ours, whole, s.numbers, strict=True):
        np.testing.assert_allclose(row, full @ directions[WATER.index(number)], atol=1e-13)


def test_a_projection_of_another_shape_is_refused():
    with pytest.raises(InputError, match="projection .* must have the shape"):
        small_soap(WATER, projection=np.ones((1, 5, 2)))


def compare(soap, s, slots):
    batch = batch_of(s, soap.species, soap.reach, slots=slots, atoms=4)
    cotangent = jax.random.normal(jax.random.key(1), (soap.n_features, 4))
    for plain, staged in zip(*both(soap, batch, cotangent), strict=True):
        # The contract of every fast path: 1e-10 of the largest entry.
        scale = np.abs(plain).max()
        np.testing.assert_allclose(staged, plain, atol=1e-10 * scale, rtol=0)
        assert scale > 0


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("periodic", [True, False])
def test_equal_automatic_differentiation(name, periodic):
    species, settings = CASES[name]
    slots = (36,) if len(species) == 1 else (20, 20)
    compare(small_soap(species, **settings), structure(species, 3, periodic), slots)


def test_equal_where_places_are_special():
    # On the z axis, and exactly at the cutoff.
    s = Structure([[0, 0, 0], [0, 0, 2.0], [2.1, 0, 2.8]], [1, 8, 8])
    compare(small_soap(WATER, radial_scale=2.0), s, (20, 20))


def test_coincident_atoms_give_finite_derivatives():
    # What they are there is a matter of definition: |r| has no derivative at 0.
    s = Structure([[0, 0, 0], [0, 0, 0], [1.2, 0, 0.3]], [1, 8, 8])
    soap = small_soap(WATER, radial_scale=2.0)
    batch = batch_of(s, WATER, soap.reach, slots=(20, 20), atoms=4)
    for parts in both(soap, batch, jnp.ones((soap.n_features, 4))):
        for part in parts:
            assert np.isfinite(part).all()
