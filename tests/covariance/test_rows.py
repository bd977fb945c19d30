"""Rows against inducing environments: the same numbers as differentiating the gram matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.covariance import centre_moves, rows
from gpjaxpot.covariance.features import environments, join
from gpjaxpot.covariance.rows import as_numpy, inducing_rows
from gpjaxpot.kernels import EnergyKernel
from gpjaxpot.structures.structure import Structure
from tests.covariance.zoo import KERNELS, padded
from tests.systems import batch_of, linear, perturbed, quick_jit, structure

NAMES = ("compound", "function", "two species and terms")
compiled = quick_jit(environments)


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """A kernel, a crystal of three atoms and a molecule of four, their batch, inducing ones."""
    kernel = KERNELS[request.param]
    species = kernel.species
    slots = (16,) if len(species) == 1 else (12, 12)
    members = [structure(species, 3), structure(species, 4, periodic=False, seed=5)]
    batch = batch_of(members, species, 3.5, slots=slots, atoms=8)
    others = batch_of([structure(species, 4, seed=i) for i in (7, 8)], species, 3.5, slots=slots)
    # Two of the batch's own environments among them, so that some coincide.
    first, second = compiled(kernel, others), compiled(kernel, batch)
    inducing = join([first.take(jnp.arange(4)), second.take(jnp.arange(2))])
    return kernel, members, batch, inducing


@quick_jit
def by_chain_rule(kernel, lin, inducing):
    """cov([E, F, σ], f_m) of one structure, from its directions and the kernel's slope."""
    total = 0.0
    coupling = kernel.coupling(lin.species, inducing.species) * lin.mask[:, None]
    for i, term in enumerate(kernel.terms):
        value = jax.vmap(jax.value_and_grad(term.kernel.evaluate), (None, 1))
        k, slope = jax.vmap(value, (1, None))(lin.features[i], inducing.features[i])
        energy = jnp.sum(coupling * k, axis=0)
        moved = jnp.einsum("cfa,am,amf->cm", lin.directions[i], coupling, slope)
        total = total + jnp.concatenate([energy[None], moved])
    return total


def test_equal_the_chain_rule_structure_by_structure(case):
    kernel, members, batch, inducing = case
    energy, forces, stress = as_numpy(inducing_rows(kernel, batch, inducing))
    first = 0
    for number, s in enumerate(members):
        # Its directions equal plain AD, as the tests of `linearised` hold.
        expected = np.asarray(by_chain_rule(kernel, linear(kernel, padded(kernel, s)), inducing))
        np.testing.assert_allclose(energy[number], expected[0], rtol=1e-12)
        ours = forces[first : first + len(s)].reshape(3 * len(s), -1)
        theirs = expected[1 : 1 + len(ours)]
        np.testing.assert_allclose(ours, theirs, atol=1e-10 * np.abs(theirs).max())
        if s.volume is not None:
            scale = np.abs(expected[-6:]).max()
            np.testing.assert_allclose(stress[number], expected[-6:], atol=1e-10 * scale)
        first += len(s)


def test_equal_finite_differences(case):
    kernel, members, batch, inducing = case
    copies, stencil = perturbed(members[0], 1e-4)
    many = batch_of(copies, kernel.species, kernel.reach)
    e = compiled(kernel, many)
    gram = np.asarray(kernel.gram(e.features, inducing.features, e.species, inducing.species))
    owner = np.asarray(many.owner)[None] == np.arange(len(copies))[:, None]
    expected = stencil @ (owner @ gram)
    energy, forces, stress = as_numpy(inducing_rows(kernel, batch, inducing))
    actual = np.concatenate([energy[:1], forces[:3].reshape(9, -1), stress[0]])
    # Truncation h² times third derivatives, 1e-8 × 1e2, and round-off ε/h.
    np.testing.assert_allclose(actual, expected, atol=1e-6 * np.abs(expected).max())


def test_traced_equal_those_made_on_the_host(case):
    kernel, _, batch, inducing = case
    traced = quick_jit(inducing_rows)(kernel, batch, inducing)
    for a, b in zip(jax.tree.leaves(inducing_rows(kernel, batch, inducing)), jax.tree.leaves(traced), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10 * np.nanmax(np.abs(b)))


def test_unlike_species_that_do_not_couple():
    both = KERNELS["two species and terms"]
    kernel = EnergyKernel(both.terms[:1])
    batch = padded(kernel, structure(kernel.species, 4, seed=5))
    inducing = compiled(kernel, batch)
    assert len(set(np.asarray(batch.species).tolist())) == 2
    traced = quick_jit(inducing_rows)(kernel, batch, inducing)
    for a, b in zip(jax.tree.leaves(inducing_rows(kernel, batch, inducing)), jax.tree.leaves(traced), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10 * np.abs(b).max())


def test_atoms_without_neighbours(case):
    kernel, _, _, inducing = case
    alone = Structure(np.zeros((1, 3)), [kernel.species[0]])
    result = inducing_rows(kernel, batch_of([alone], kernel.species, 3.5, atoms=2), inducing)
    assert np.abs(result.energy).max() > 0
    np.testing.assert_array_equal(result.forces, 0.0)


def test_nothing_where_there_is_nothing(case):
    kernel, _, batch, inducing = case
    result = inducing_rows(kernel, batch, inducing)
    np.testing.assert_array_equal(result.forces[:, 7], 0.0)  # a padding place
    assert np.isnan(result.stress[:, 1]).all()  # a molecule has no stress


def test_blocks_of_columns_change_nothing(case, monkeypatch):
    kernel, _, batch, inducing = case
    whole = inducing_rows(kernel, batch, inducing)
    monkeypatch.setattr(rows, "COLUMN_BLOCK", 4)
    monkeypatch.setattr(centre_moves, "TILE", 5)
    monkeypatch.setattr(centre_moves, "CENTRES", 3)
    for a, b in zip(jax.tree.leaves(inducing_rows(kernel, batch, inducing)), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_on_the_host_atoms_come_first(case):
    kernel, _, batch, inducing = case
    result = inducing_rows(kernel, batch, inducing)
    energy, forces, stress = as_numpy(result)
    assert (energy.shape, forces.shape, stress.shape) == ((2, 6), (8, 3, 6), (2, 6, 6))
    np.testing.assert_array_equal(forces[2, 1], result.forces[1, 2])
    np.testing.assert_array_equal(stress[0, 4], result.stress[4, 0])
