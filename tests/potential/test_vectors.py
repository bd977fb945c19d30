"""Vectors of environments: of unit length, blind to rotation, and those that a potential sees."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from numpy.testing import assert_allclose

import gpjaxpot as gp
from tests.potential.conftest import soap


def test_they_have_unit_length_and_turn_with_nothing():
    crystal = bulk("Si", cubic=True)
    crystal.rattle(0.1, seed=0)
    turned = crystal.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    swapped = crystal[[1, 0, 2, 3, 4, 5, 6, 7]]
    first, second, third = gp.environment_vectors(soap(), [crystal, turned, swapped])
    assert first.shape == (8, 18)
    assert_allclose(np.linalg.norm(first, axis=1), 1.0, rtol=1e-10)
    assert_allclose(second, first, atol=1e-10)
    assert_allclose(third[:2], first[1::-1], atol=1e-12)


def test_structures_of_one_call_share_their_species():
    water, methane = gp.environment_vectors(soap(), [molecule("H2O"), molecule("CH4")])
    assert water.shape[1] == methane.shape[1]
    alone = gp.environment_vectors(gp.SOAP(3.5, 3, 2, 0.5, species=(1, 6, 8)), [molecule("H2O")])[0]
    assert_allclose(alone, water, atol=1e-12)


def test_they_are_what_a_calibration_sees(exact, frames):
    own = exact.kernel.terms[0].descriptor
    _, vectors = exact.predicted(frames[7].structure, exact.neighbours(), uncertainty=True, covariance=True)
    assert_allclose(gp.environment_vectors(own, [frames[7]])[0], vectors, atol=1e-12)


def test_what_is_no_structure_is_refused():
    with pytest.raises(gp.InputError, match="expected a Structure"):
        gp.environment_vectors(soap(), ["H2O"])
    assert gp.environment_vectors(soap(), [Atoms("H", [[0.0, 0.0, 0.0]])])[0].shape[0] == 1
