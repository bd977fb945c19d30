"""The functions of the quick model: their derivatives are derivatives, and many structures are each alone."""

import numpy as np
import pytest
from ase.build import bulk, molecule

from gpjaxpot.structures.quick_basis import VOIGT, QuickBasis
from gpjaxpot.structures.structure import Structure

STEP = 1e-4


def salt():
    atoms = bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 1)
    atoms.rattle(0.2, seed=1)
    return atoms


@pytest.fixture
def basis():
    return QuickBasis([11, 17], 2.0, 5.0)


@pytest.fixture
def weights(basis):
    return np.random.default_rng(0).normal(size=basis.n_features)


def energy(basis, weights, atoms):
    return float(basis.columns([Structure.from_ase(atoms)]).energies[0] @ weights)


def test_forces_are_minus_the_finite_difference(basis, weights):
    atoms = salt()
    # The second of two: its rows come after the first's, and nothing leaks between them.
    told = basis.columns([Structure.from_ase(atoms)] * 2).forces[12:] @ weights
    for i, x in ((0, 0), (1, 2), (3, 1)):
        there, back = atoms.copy(), atoms.copy()
        there.positions[i, x] += STEP
        back.positions[i, x] -= STEP
        expected = -(energy(basis, weights, there) - energy(basis, weights, back)) / (2 * STEP)
        # Error of the difference: STEP² times a third derivative of some 10 eV/Å³.
        assert told[3 * i + x] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_strain_derivative_is_the_finite_difference(basis, weights):
    atoms = salt()
    told = basis.columns([Structure.from_ase(atoms)]).strains[0] @ weights
    for v, (i, j) in enumerate(VOIGT):
        strain = np.zeros((3, 3))
        strain[i, j] += STEP / 2
        strain[j, i] += STEP / 2
        energies = []
        for sign in (1, -1):
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ (np.eye(3) + sign * strain), scale_atoms=True)
            energies.append(energy(basis, weights, strained))
        assert told[v] == pytest.approx((energies[0] - energies[1]) / (2 * STEP), rel=1e-5, abs=1e-4)


def test_energies_do_not_change_by_rotation_or_order():
    atoms = molecule("CH3CH2OH")
    basis = QuickBasis([1, 6, 8], 0.8, 5.5)
    before = basis.columns([Structure.from_ase(atoms)]).energies
    atoms.rotate(40, (1, 2, 3))
    atoms.positions += 3.0
    after = basis.columns([Structure.from_ase(atoms[::-1])]).energies
    np.testing.assert_allclose(after, before, atol=1e-11 * np.abs(before).max())


def test_an_atom_alone_has_no_forces_and_no_nan():
    columns = QuickBasis([3], 2.0, 5.0).columns([Structure([[0.0, 0, 0]], [3])])
    assert not columns.forces.any()
    assert np.isfinite(columns.energies).all()
