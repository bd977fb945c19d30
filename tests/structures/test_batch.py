"""Batches: padding and company change nothing, and displacements are the pairs' vectors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.structures.batch import (
    ATOM_BUCKETS,
    atom_bucket,
    collate,
    neighbourhood,
    slot_bucket,
    species_indices,
)
from gpjaxpot.structures.structure import Structure
from tests.systems import CELL, WATER, batch_of, structure

CUTOFF = 3.5


@pytest.fixture(scope="module")
def mixture():
    """A crystal, a molecule, a lone atom and a slab."""
    slab = structure(WATER, 3, seed=4)
    return [
        structure(WATER, 5, seed=1),
        structure(WATER, 3, periodic=False, seed=2),
        Structure([[0.0, 0.0, 0.0]], [8]),
        Structure(slab.positions, slab.numbers, CELL, (True, True, False)),
    ]


def vectors(batch, place):
    """Sorted (species of neighbour, vector) of one place."""
    r, mask = np.asarray(batch.displacements())[:, :, place], np.asarray(batch.mask)[:, place]
    kinds = np.repeat(np.arange(len(batch.slots)), batch.slots)
    found = np.column_stack([kinds, r.T])[mask]
    return found[np.lexsort(found.T[::-1].round(9))]


def test_displacements_are_the_vectors_of_the_pairs():
    s = structure(WATER, 5)
    item = neighbourhood(s, WATER, CUTOFF)
    batch = collate([item], 2)
    p = item.pairs
    expected = s.positions[p.others] + p.shifts @ s.cell - s.positions[p.centres]
    for atom in range(5):
        mine = p.centres == atom
        rows = np.column_stack([item.species[p.others[mine]], expected[mine]])
        rows = rows[np.lexsort(rows.T[::-1].round(9))]
        # Same three terms, perhaps in another order: round-off of numbers below 20 Å.
        np.testing.assert_allclose(vectors(batch, atom), rows, atol=1e-13)


def test_each_structure_in_company_is_as_alone(mixture):
    together = batch_of(mixture, WATER, CUTOFF)
    start = 0
    for number, s in enumerate(mixture):
        alone = batch_of(s, WATER, CUTOFF)
        for atom in range(len(s)):
            np.testing.assert_array_equal(vectors(together, start + atom), vectors(alone, atom))
            assert together.owner[start + atom] == number
            assert together.species[start + atom] == alone.species[atom]
        start += len(s)
    assert np.asarray(together.atom_mask).sum() == start
    assert (np.asarray(together.owner)[start:] == together.n_structures).all()


def test_volumes_are_nan_where_there_is_none(mixture):
    volumes = np.asarray(batch_of(mixture, WATER, CUTOFF).volumes)
    np.testing.assert_array_equal(np.isnan(volumes), [False, True, True, True])
    assert volumes[0] == pytest.approx(abs(np.linalg.det(CELL)), rel=1e-14)


def test_padding_is_masked_points_at_itself_and_has_a_length(mixture):
    batch = batch_of(mixture, WATER, CUTOFF)
    mask = np.asarray(batch.mask)
    own = np.broadcast_to(np.arange(batch.n_atoms), mask.shape)
    places = np.arange(mask.size).reshape(mask.shape)
    np.testing.assert_array_equal(np.asarray(batch.others)[~mask], own[~mask])
    np.testing.assert_array_equal(np.asarray(batch.reverse)[~mask], places[~mask])
    lengths = np.linalg.norm(np.asarray(batch.displacements()), axis=0)
    assert lengths[~mask].min() > 0.5  # so that roots of it have derivatives


def test_reverse_leads_back(mixture):
    batch = batch_of(mixture, WATER, CUTOFF)
    mask, reverse = np.asarray(batch.mask), np.asarray(batch.reverse)
    r = np.asarray(batch.displacements()).reshape(3, -1)
    others = np.asarray(batch.others)
    np.testing.assert_array_equal(reverse.reshape(-1)[reverse], np.arange(mask.size).reshape(mask.shape))
    np.testing.assert_array_equal(reverse[mask] % batch.n_atoms, others[mask])
    here = np.arange(mask.size).reshape(mask.shape)
    # Round-off of sums of numbers of some 10 Å.
    np.testing.assert_allclose(r[:, reverse[mask]], -r[:, here[mask]], atol=1e-13)


@pytest.mark.parametrize("periodic", [True, False])
def test_gathered_forces_are_minus_the_gradient_by_position(periodic):
    s = structure(WATER, 5, periodic)
    batch = batch_of(s, WATER, CUTOFF, slots=(16, 16), atoms=8)
    weights = jax.random.normal(jax.random.key(0), batch.others.shape)

    def energy(r):
        # Not symmetric between a pair and its reverse, so that both ways count.
        return jnp.sum(jnp.where(batch.mask, weights * jnp.sin(r[0] + 2.0 * r[1] * r[2]), 0.0))

    def by_position(positions):
        return energy(eqx.tree_at(lambda b: b.positions, batch, positions).displacements())

    by_displacement = jax.jit(jax.grad(energy))(batch.displacements())
    expected = -jax.jit(jax.grad(by_position))(batch.positions)
    # The same sums in another order, of terms of size 10.
    np.testing.assert_allclose(batch.gather_forces(by_displacement).T, expected, atol=1e-12)


def test_strain_moves_as_a_strained_cell_and_positions_do():
    s = structure(WATER, 4)
    strain = 0.02 * np.random.default_rng(0).normal(size=(3, 3))  # not symmetric
    batch = batch_of(s, WATER, CUTOFF)
    f = np.eye(3) + strain
    expected = eqx.tree_at(lambda b: (b.positions, b.cells), batch, (batch.positions @ f, batch.cells @ f))
    actual = eqx.tree_at(lambda b: b.strain, batch, jnp.asarray(strain)[None])
    mask = np.asarray(batch.mask)
    # Round-off of products of numbers of some 10 Å.
    np.testing.assert_allclose(
        np.asarray(actual.displacements())[:, mask],
        np.asarray(expected.displacements())[:, mask],
        atol=1e-13,
    )


def test_slots_are_grouped_by_species(mixture):
    batch = batch_of(mixture, WATER, CUTOFF)
    kinds = np.repeat(np.arange(2), batch.slots)[:, None]
    found = np.asarray(batch.species)[np.asarray(batch.others)]
    mask = np.asarray(batch.mask)
    np.testing.assert_array_equal(found[mask], np.broadcast_to(kinds, mask.shape)[mask])


@pytest.mark.parametrize(
    "sizes",
    [{"slots": (4, 0)}, {"atoms": 4}, {"structures": 1}],
    ids=["slots", "atoms", "structures"],
)
def test_too_small_a_size_is_refused(mixture, sizes):
    items = [neighbourhood(s, WATER, CUTOFF) for s in mixture]
    with pytest.raises(InputError, match="does not fit"):
        collate(items, 2, **sizes)


def test_unknown_species_are_named():
    with pytest.raises(InputError, match="species Si, the model knows H, O"):
        species_indices(structure((1, 14), 4), WATER)


def test_buckets_hold_what_they_are_asked_for():
    for bucket in (slot_bucket, atom_bucket):
        sizes = [bucket(n) for n in range(1, 3000)]
        assert all(size >= n for n, size in enumerate(sizes, 1))
        assert sizes == sorted(sizes)
    assert slot_bucket(0) > 0  # arrays without elements have no well-defined products
    assert [atom_bucket(n) for n in ATOM_BUCKETS] == list(ATOM_BUCKETS)
    # Few shapes, so few compilations: at most eight for each doubling.
    assert len({slot_bucket(n) for n in range(1, 1025)}) <= 8 * 10
