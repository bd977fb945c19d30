"""Labels and frames: absent is absent, wrong is refused."""

import numpy as np
import pytest
from ase.stress import full_3x3_to_voigt_6_stress

from gpjaxpot.errors import InputError
from gpjaxpot.structures.labels import Frame, Labels, voigt
from gpjaxpot.structures.structure import Structure

ATOM = Structure([[0.0, 0, 0]], [14])
CRYSTAL = Structure([[0.0, 0, 0]], [14], 3 * np.eye(3), True)


def test_nothing_given_is_nothing_kept():
    labels = Labels()
    assert labels.empty
    assert labels.energy is None
    assert labels.forces is None
    assert labels.stress is None


def test_zero_is_a_label():
    assert Labels(energy=0.0).energy == 0.0
    assert not Labels(energy=0.0).empty


def test_voigt_order_and_symmetrisation_are_those_of_ase():
    tensor = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    np.testing.assert_array_equal(voigt(tensor), [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(voigt(tensor.reshape(9)), voigt(tensor))
    np.testing.assert_array_equal(voigt([1.0, 2, 3, 4, 5, 6]), [1, 2, 3, 4, 5, 6])
    noisy = tensor + 1e-6 * np.arange(9).reshape(3, 3)
    np.testing.assert_allclose(voigt(noisy), full_3x3_to_voigt_6_stress(noisy), rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"energy": float("nan")}, "energy is nan"),
        ({"energy": "1e"}, "'1e'"),
        ({"energy": True}, "must be a number"),
        ({"energy": 1j}, "must be real"),
        ({"energy": [1.0, 2.0]}, "one number"),
        ({"forces": [[0.0, np.inf, 0.0]]}, "force on atom 0"),
        ({"forces": [0.0, 0.0, 0.0]}, "shape"),
        ({"stress": [1.0, 2.0]}, "6 Voigt"),
        ({"stress": np.diag([1.0, 2, np.nan])}, "not finite"),
        ({"stress": np.arange(9.0)}, "symmetric"),
        ({"energy_sigma": 0.0}, "positive"),
        ({"forces_sigma": -1.0}, "positive"),
        ({"stress_sigma": float("inf")}, "not finite"),
    ],
)
def test_what_is_no_label_is_refused(labels, message):
    with pytest.raises(InputError, match=message):
        Labels(**labels)


def test_forces_must_belong_to_the_atoms():
    with pytest.raises(InputError, match=r"a.xyz, frame 3: 2 forces for 1 atoms"):
        Frame(ATOM, Labels(forces=np.zeros((2, 3))), None, "a.xyz, frame 3")


def test_stress_needs_three_periodic_directions():
    assert Frame(CRYSTAL, Labels(stress=np.zeros(6))).labels.stress is not None
    with pytest.raises(InputError, match="three periodic directions"):
        Frame(ATOM, Labels(stress=np.zeros(6)))


@pytest.mark.parametrize(
    ("structure", "group", "isolated"),
    [
        (ATOM, None, True),
        (ATOM, "liquid", True),
        (CRYSTAL, None, False),
        (CRYSTAL, "IsolatedAtom", True),
        (CRYSTAL, "isolated_atom", True),
        (Structure([[0.0, 0, 0], [0, 0, 2]], [1, 1]), "IsolatedAtom", False),
    ],
)
def test_one_atom_alone_is_known_by_its_cell_or_its_group(structure, group, isolated):
    assert Frame(structure, Labels(), group).isolated is isolated
