"""Rows against inducing environments: the same numbers as differentiating the gram matrix."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.covariance import rows
from gpjaxpot.covariance.features import environments, join
from gpjaxpot.covariance.rows import as_numpy, inducing_rows
from tests.covariance.zoo import KERNELS
from tests.systems import VOIGT, batch_of, structure

NAMES = ("Matérn", "function", "two species and terms, similar")


@eqx.filter_jit
def by_differentiation(kernel, batch, inducing):
    """Energies [structures, m] and their slopes by positions and strain."""

    def energies(positions, strain):
        moved = eqx.tree_at(lambda b: (b.positions, b.strain), batch, (positions, strain))
        e = environments(kernel, moved)
        gram = kernel.gram(e.features, inducing.features, e.species, inducing.species)
        gram = gram * batch.atom_mask[:, None]
        return jax.ops.segment_sum(gram, batch.owner, batch.n_structures + 1)[:-1]

    places = (batch.positions, batch.strain)
    return energies(*places), jax.jacrev(energies, argnums=(0, 1))(*places)


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """A kernel, a batch of a crystal and a molecule, and inducing environments of others."""
    kernel = KERNELS[request.param]
    species = kernel.species
    slots = (36,) if len(species) == 1 else (20, 20)
    members = [structure(species, 3), structure(species, 4, periodic=False, seed=5)]
    batch = batch_of(members, species, 3.5, slots=slots, atoms=8)
    other = batch_of(structure(species, 4, seed=7), species, 3.5)
    inducing = join([environments(kernel, other), environments(kernel, batch).take(jnp.arange(2))])
    return kernel, batch, inducing


def test_equal_differentiation_of_the_gram_matrix(case):
    kernel, batch, inducing = case
    energy, (by_position, by_strain) = by_differentiation(kernel, batch, inducing)
    result = inducing_rows(kernel, batch, inducing)
    np.testing.assert_allclose(result.energy, energy, rtol=1e-12)
    # An atom moves the energy of its own structure only.
    forces = -jnp.moveaxis(jnp.sum(by_position, axis=0), (0, 1, 2), (2, 1, 0))
    scale = np.abs(forces).max()
    np.testing.assert_allclose(result.forces, forces, atol=1e-10 * scale)
    slope = by_strain[0, :, 0]  # the crystal's energy by its own strain
    voigt = np.stack([(slope[:, i, j] + slope[:, j, i]) / 2 for i, j in VOIGT])
    voigt = voigt / float(batch.volumes[0])
    np.testing.assert_allclose(result.stress[:, 0], voigt, atol=1e-10 * np.abs(voigt).max())


def test_nothing_where_there_is_nothing(case):
    kernel, batch, inducing = case
    result = inducing_rows(kernel, batch, inducing)
    np.testing.assert_array_equal(result.forces[:, 7], 0.0)  # a padding place
    assert np.isnan(result.stress[:, 1]).all()  # a molecule has no stress


def test_blocks_of_columns_change_nothing(case, monkeypatch):
    kernel, batch, inducing = case
    whole = inducing_rows(kernel, batch, inducing)
    monkeypatch.setattr(rows, "COLUMN_BLOCK", 4)
    for a, b in zip(
        jax.tree.leaves(inducing_rows(kernel, batch, inducing)), jax.tree.leaves(whole), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_on_the_host_atoms_come_first(case):
    kernel, batch, inducing = case
    result = inducing_rows(kernel, batch, inducing)
    energy, forces, stress = as_numpy(result)
    assert (energy.shape, forces.shape, stress.shape) == ((2, 6), (8, 3, 6), (2, 6, 6))
    np.testing.assert_array_equal(forces[2, 1], result.forces[1, 2])
    np.testing.assert_array_equal(stress[0, 4], result.stress[4, 0])
