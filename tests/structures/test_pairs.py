"""Neighbour pairs against ASE's neighbour list, and their reverses."""

import numpy as np
import pytest
from ase.neighborlist import neighbor_list

from gpjaxpot.structures.pairs import find_pairs
from gpjaxpot.structures.structure import Structure

SKEWED = np.array([[4.0, 0.0, 0.0], [3.1, 3.3, 0.0], [-2.2, 1.9, 4.4]])
FLAT = np.array([[2.1, 0.0, 0.0], [1.9, 1.2, 0.0], [0.0, 0.3, 9.0]])
NO_VECTORS = np.zeros((3, 3))
ONE_VECTOR = np.array([[0.0, 0.0, 0.0], [0.4, 2.8, 0.7], [0.0, 0.0, 0.0]])

CELLS = {
    "skewed": (SKEWED, True),
    "left-handed": (SKEWED[[1, 0, 2]], True),
    "smaller than the cutoff": (0.4 * SKEWED, True),
    "flat and skewed": (FLAT, True),
    "slab, vector across it": (SKEWED, (True, True, False)),
    "slab, no vector across it": (SKEWED * [[1], [1], [0]], (True, True, False)),
    "wire": (ONE_VECTOR, (False, True, False)),
    "wire in a cell": (SKEWED, (True, False, False)),
    "open, in a cell": (SKEWED, False),
    "molecule": (NO_VECTORS, False),
}


def atoms_in(name, n, seed):
    cell, pbc = CELLS[name]
    rng = np.random.default_rng(seed)
    spread = cell if abs(np.linalg.det(cell)) > 0 else 4.0 * np.eye(3)
    # Positions outside the cell, too: nothing may depend on wrapping.
    return Structure(rng.uniform(-1.3, 2.2, (n, 3)) @ spread, np.full(n, 14), cell, pbc)


def listed(i, j, shifts):
    return sorted(zip(i.tolist(), j.tolist(), map(tuple, shifts.tolist()), strict=True))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("n", [1, 2, 7])
def test_same_pairs_as_ase(name, n):
    # Exact: both lists hold integers, and no random distance equals the cutoff to the last digit.
    for seed in range(3):
        s = atoms_in(name, n, seed)
        pairs = find_pairs(s, 3.7)
        expected = neighbor_list("ijS", s.to_ase(), 3.7)
        assert listed(pairs.centres, pairs.others, pairs.shifts) == listed(*expected)


@pytest.mark.parametrize("name", CELLS)
def test_reverse_leads_back_and_vectors_are_opposite(name):
    s = atoms_in(name, 6, 5)
    pairs = find_pairs(s, 3.7)
    np.testing.assert_array_equal(pairs.centres[pairs.reverse], pairs.others)
    np.testing.assert_array_equal(pairs.others[pairs.reverse], pairs.centres)
    np.testing.assert_array_equal(pairs.shifts[pairs.reverse], -pairs.shifts)
    np.testing.assert_array_equal(pairs.reverse[pairs.reverse], np.arange(len(pairs.centres)))
    vectors = s.positions[pairs.others] + pairs.shifts @ s.cell - s.positions[pairs.centres]
    lengths = np.linalg.norm(vectors, axis=1)
    # Round-off of sums of numbers of the size of the positions, tens of Å.
    np.testing.assert_allclose(vectors[pairs.reverse], -vectors, atol=1e-12)
    assert lengths.max(initial=0.0) <= 3.7
    assert lengths.min(initial=1.0) > 0.0


def test_sorted_by_centre():
    pairs = find_pairs(atoms_in("skewed", 7, 1), 4.0)
    assert (np.diff(pairs.centres) >= 0).all()


def test_an_atom_sees_its_images_but_not_itself():
    s = Structure([[0.3, 0.2, 0.1]], [14], np.diag([2.0, 3.0, 50.0]), True)
    pairs = find_pairs(s, 3.5)
    # Within 3.5 Å of a 2 × 3 Å rectangular lattice: ±a, ±b; a ± b is √13 = 3.61 Å away.
    expected = {(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)}
    assert set(map(tuple, pairs.shifts.tolist())) == expected


def test_a_lone_atom_has_no_pairs():
    pairs = find_pairs(Structure([[1.0, 2.0, 3.0]], [14]), 5.0)
    assert len(pairs.centres) == len(pairs.reverse) == 0
    assert pairs.shifts.shape == (0, 3)
