"""Copies are known however they are turned; neighbours along a trajectory are not taken for copies."""

import numpy as np
import pytest
from ase.build import bulk, molecule

from gpjaxpot.datasets import lithium, silicon
from gpjaxpot.structures.copies import check_fitted, check_leakage
from gpjaxpot.structures.duplicates import mark
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.shapes import copies, same, shape
from gpjaxpot.structures.structure import Structure


def changed(frame, moved=0.0, seed=0):
    """Return the frame rotated, moved, reordered, and each atom displaced at random."""
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    s = frame.structure
    order = generator.permutation(len(s))
    positions = (s.positions @ turn + generator.normal(size=3))[order]
    positions += generator.normal(scale=moved, size=positions.shape)
    turned = Structure(positions, s.numbers[order], s.cell @ turn, s.pbc)
    return Frame(turned, Labels(frame.labels.energy), None, "copy")


@pytest.mark.parametrize("make", [lambda: bulk("GaAs", "zincblende", a=5.6) * 2, lambda: molecule("C6H6")])
def test_copies_have_one_shape_and_displaced_atoms_another(make):
    atoms = make()
    atoms.rattle(0.05, seed=3)
    frame = Frame(Structure.from_ase(atoms))
    here = shape(frame.structure)
    assert same(here, shape(changed(frame).structure))
    assert same(here, shape(changed(frame, moved=1e-4).structure))
    assert not same(here, shape(changed(frame, moved=1e-2).structure))


def test_other_species_and_other_sizes_are_no_copies():
    silicon_cell, germanium = bulk("Si", a=5.4), bulk("Ge", a=5.4)
    one = shape(Structure.from_ase(silicon_cell))
    assert not same(one, shape(Structure.from_ase(germanium)))
    assert not same(one, shape(Structure.from_ase(silicon_cell * (2, 1, 1))))


def test_copies_are_found_among_many():
    frames = list(lithium()[0])
    shapes = [shape(f.structure) for f in frames]
    turned = [shape(changed(frames[i], seed=i).structure) for i in (3, 11, 26)]
    assert {j for _, j in copies(turned, shapes)} >= {3, 11, 26}
    assert copies([], shapes) == copies(shapes, []) == []


def test_leakage_names_the_test_structures():
    train, test = silicon()
    test = [f for f in test if f.group != "Elastic"]
    assert check_leakage(train, test) == []
    (finding,) = check_leakage(train, [*test, changed(train[5]), train[7]])
    assert finding.code == "leakage"
    assert finding.level == "warning"
    assert finding.frames == (len(test), len(test) + 1)
    assert f"2 of {len(test) + 2} " in finding.message
    assert "1 of them turned" in finding.message
    assert train[5].source in finding.message
    assert finding.remedy


def test_a_strain_that_mirrors_another_is_a_leak():
    """The authors' own parts of silicon have one shear in each that is the other's mirror image."""
    train, test = silicon()
    (finding,) = check_leakage(train, test)
    (place,) = finding.frames
    assert test[place].group == "Elastic"
    near = min(train, key=lambda f: abs(f.labels.energy - test[place].labels.energy))
    # Two calculations of one structure: equal to their convergence.
    assert near.labels.energy == pytest.approx(test[place].labels.energy, abs=2e-3)
    assert near.source in finding.message


def test_structures_that_a_model_was_fitted_to_are_known_by_their_marks():
    train, test = silicon()
    marks = [mark(f) for f in train]
    assert check_fitted(marks, test) == []
    assert check_fitted([], train) == []
    (finding,) = check_fitted(marks, [*test, train[5], changed(train[7])])
    assert (finding.level, finding.code, finding.frames) == ("warning", "fitted", (len(test),))
    assert f"1 of these {len(test) + 2} " in finding.message
    assert train[5].source in finding.message
    alone = [Frame(Structure([[0.0, 0, 0]], [14]), Labels(-1.0))]
    assert check_fitted([mark(alone[0])], alone) == []


def test_single_atoms_are_no_leak():
    alone = [Frame(Structure([[0.0, 0, 0]], [z]), Labels(-1.0)) for z in (1, 8)]
    assert check_leakage(alone, alone) == []
