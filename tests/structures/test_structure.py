"""Structures: what they accept, refuse and keep."""

import equinox as eqx
import jax
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule

from gpjaxpot.errors import InputError
from gpjaxpot.structures.structure import Structure


@pytest.mark.parametrize("atoms", [bulk("Si"), molecule("H2O"), fcc111("Pt", (1, 1, 2), vacuum=5)])
def test_ase_and_back_keeps_everything(atoms):
    back = Structure.from_ase(atoms).to_ase()
    np.testing.assert_array_equal(back.positions, atoms.positions)
    np.testing.assert_array_equal(back.cell, atoms.cell)
    np.testing.assert_array_equal(back.numbers, atoms.numbers)
    np.testing.assert_array_equal(back.pbc, atoms.pbc)


def test_volume_is_that_of_ase_and_none_where_a_direction_is_open():
    atoms = bulk("Si")
    assert Structure.from_ase(atoms).volume == pytest.approx(atoms.get_volume(), rel=1e-12)
    left_handed = Structure([[0, 0, 0]], [14], np.diag([2.0, 3.0, -4.0]), True)
    assert left_handed.volume == pytest.approx(24.0)
    assert Structure.from_ase(fcc111("Pt", (1, 1, 2), vacuum=5)).volume is None
    assert Structure.from_ase(molecule("H2O")).volume is None


def test_changing_the_callers_array_does_not_change_the_structure():
    positions = np.zeros((1, 3))
    structure = Structure(positions, [1])
    positions[0, 0] = 7.0
    assert structure.positions[0, 0] == 0.0


def test_it_is_a_pytree_of_its_arrays():
    structure = Structure([[0.0, 0, 0], [1, 0, 0]], [1, 8])
    assert len(jax.tree.leaves(structure)) == 3
    moved = eqx.tree_at(lambda s: s.positions, structure, structure.positions + 1)
    np.testing.assert_array_equal(moved.positions, structure.positions + 1)
    assert moved.pbc == structure.pbc


def test_one_periodic_direction_needs_one_vector():
    cell = np.zeros((3, 3))
    cell[2] = [0, 0.5, 4.0]
    wire = Structure([[0.0, 0, 0]], [6], cell, [False, False, True])
    assert wire.pbc == (False, False, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": [[0.0, 0.0]]}, "shape"),
        ({"positions": [[0.0, 0, 0], [1, 0, 0]]}, "shape"),
        ({"positions": [["a", 0, 0]]}, "positions must be numbers"),
        ({"positions": [[np.nan, 0, 0]]}, "position of atom 0"),
        ({"positions": [[np.inf, 0, 0]]}, "not finite"),
        ({"positions": [[2e4, 0, 0]]}, "decimal point"),
        ({"positions": np.zeros((0, 3)), "numbers": []}, "no atoms"),
        ({"numbers": [0]}, "no element"),
        ({"numbers": [119]}, "119"),
        ({"numbers": [14.0]}, "integers"),
        ({"numbers": [[14]]}, "shape"),
        ({"cell": np.eye(2)}, "cell must have shape"),
        ({"cell": np.eye(3) * np.nan}, "cell has entries"),
        ({"pbc": True}, "need cell vectors"),
        ({"pbc": True, "cell": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}, "parallel"),
        ({"pbc": [True, False, False], "cell": np.diag([0.0, 1, 1])}, "need cell vectors"),
        ({"pbc": [True, False]}, "pbc must be"),
    ],
)
def test_what_is_no_structure_is_refused(change, message):
    good = {"positions": [[0.0, 0, 0]], "numbers": [14], "cell": np.zeros((3, 3)), "pbc": False}
    Structure(**good)
    with pytest.raises(InputError, match=message):
        Structure(**(good | change))
