"""Atoms nearer to each other than any in the data are found, across boundaries and pair by pair."""

import numpy as np
import pytest

from gpjaxpot.datasets import lithium, silicon
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.nearest import check_nearest, nearest_by_pair, pair_name
from gpjaxpot.structures.structure import Structure


def frame(positions, numbers, cell=20.0, source="new.xyz, frame 0"):
    return Frame(Structure(positions, np.array(numbers), cell * np.eye(3), True), None, None, source)


KNOWN = {"H-H": 1.5, "H-O": 0.95, "O-O": 2.4}


def test_least_distances_of_each_pair():
    frames = [
        frame([[0.0, 0, 0], [0.96, 0, 0], [-0.5, 0.9, 0]], [8, 1, 1]),
        frame([[0.0, 0, 0], [0, 0, 1.0]], [1, 8]),
    ]
    found = nearest_by_pair(frames, (1, 8, 14), 5.0)
    apart = np.hypot(1.46, 0.9)
    assert found == pytest.approx({"H-H": apart, "H-O": 0.96, "O-O": 5.0, "H-Si": 5.0, "O-Si": 5.0, "Si-Si": 5.0})
    assert pair_name(14, 8) == "O-Si"


@pytest.mark.parametrize(
    ("positions", "numbers", "level", "words"),
    [
        ([[0.0, 0, 0], [1.4, 0, 0]], [1, 1], "note", "atoms 0 (H) and 1 (H), 1.400 Å"),
        ([[0.0, 0, 0], [1.34, 0, 0]], [1, 1], "warning", "no H-H below 1.500 Å"),
        ([[0.2, 0, 0], [19.4, 0, 0]], [1, 8], "warning", "atoms 0 (H) and 1 (O), 0.800 Å"),
        # Far below for oxygen, though hydrogens may come as near.
        ([[0.0, 0, 0], [1.6, 0, 0]], [8, 8], "warning", "no O-O below 2.400 Å"),
        ([[0.0, 0, 0], [1.4, 0, 0], [5.0, 0, 0], [6.6, 0, 0]], [1, 1, 8, 8], "warning", "atoms 2 (O) and 3 (O)"),
    ],
)
def test_nearer_atoms_are_named(positions, numbers, level, words):
    sound = frame([[0.0, 0, 0], [0.96, 0, 0]], [8, 1])
    (finding,) = check_nearest(KNOWN, [sound, frame(positions, numbers, source="new.xyz, frame 7"), sound])
    assert (finding.level, finding.code, finding.frames) == (level, "nearer", (1,))
    assert words in finding.message
    assert "new.xyz, frame 7" in finding.message
    assert "1 of 3 structures" in finding.message
    assert finding.remedy


@pytest.mark.parametrize(
    "one",
    [
        frame([[0.0, 0, 0], [1.5, 0, 0]], [1, 1]),
        frame([[0.0, 0, 0], [0.5, 0, 0]], [14, 14]),
        frame([[0.0, 0, 0]], [1]),
        frame([[0.0, 0, 0], [5.0, 0, 0]], [1, 8]),
    ],
    ids=["as near as known", "unknown pair", "one atom", "apart"],
)
def test_nothing_is_said_of_others(one):
    assert check_nearest(KNOWN, [one]) == []
    assert check_nearest({}, [one]) == []


def test_an_atom_and_its_own_image():
    small = Frame(Structure([[0.0, 0, 0]], np.array([1]), np.diag([1.2, 9.0, 9.0]), True), None, None, "chain")
    (finding,) = check_nearest(KNOWN, [small])
    assert "atoms 0 (H) and 0 (H), 1.200 Å" in finding.message


@pytest.mark.parametrize(("data", "number"), [(silicon, 14), (lithium, 3)])
def test_shipped_test_structures_are_no_nearer_than_the_training_ones(data, number):
    train, test = data()
    known = nearest_by_pair(train, (number,), 5.0)
    assert check_nearest(known, train) == []
    assert all(finding.level == "note" for finding in check_nearest(known, test))
