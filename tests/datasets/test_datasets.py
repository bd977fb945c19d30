"""The structures that come with the package."""

from importlib import resources
from itertools import combinations

import numpy as np
import pytest
from scipy.linalg import logm

from gpjaxpot import datasets
from gpjaxpot.structures.check import check
from gpjaxpot.structures.duplicates import fingerprint


@pytest.mark.parametrize(("load", "number"), [(datasets.silicon, 14), (datasets.lithium, 3)])
def test_every_structure_has_every_label_and_a_group(load, number):
    train, test = load()
    assert (len(train), len(test)) == (40, 12)
    for frame in train + test:
        assert set(frame.structure.numbers) == {number}
        assert all(frame.structure.pbc)
        assert frame.labels.energy is not None
        assert frame.labels.forces is not None
        assert frame.labels.stress is not None
    groups = {"AIMD", "Vacancy", "Elastic", "Surface"}
    assert {frame.group for frame in train} == {frame.group for frame in test} == groups


@pytest.mark.parametrize("load", [datasets.silicon, datasets.lithium])
def test_no_test_structure_is_in_the_training_part_and_nothing_is_wrong(load):
    train, test = load()
    assert not {fingerprint(f) for f in train} & {fingerprint(f) for f in test}
    assert not [f for f in check(train + test) if f.level != "note"]


def test_forces_add_up_to_zero():
    # The source states net forces of at most 1e-5 eV/Å per structure; 64 atoms rounded to 1e-8.
    for frame in datasets.silicon()[0]:
        np.testing.assert_allclose(frame.labels.forces.sum(axis=0), 0, atol=2e-5)


def test_stress_is_the_derivative_of_the_energy():
    """Between two strained cells the energy changes by V σ : dε, in sign, unit and order."""
    frames = [frame for frame in datasets.silicon()[0] if frame.group == "Elastic"]
    changes, works = [], []
    for a, b in combinations(frames, 2):
        # Atoms move with the cell: strain is all that happened between the two.
        scaled = [np.linalg.solve(f.structure.cell.T, f.structure.positions.T) for f in (a, b)]
        if np.abs(scaled[0] - scaled[1]).max() > 1e-3:
            continue
        strain = np.real(logm(np.linalg.solve(a.structure.cell, b.structure.cell)))
        s = (strain + strain.T) / 2
        voigt = np.array([s[0, 0], s[1, 1], s[2, 2], 2 * s[1, 2], 2 * s[0, 2], 2 * s[0, 1]])
        mean = sum(f.labels.stress * f.structure.volume for f in (a, b)) / 2
        changes.append(b.labels.energy - a.labels.energy)
        works.append(voigt @ mean)
    assert len(works) > 20
    # The trapezium rule over strains up to 0.2 leaves a few per cent; a wrong sign, kBar for
    # GPa or two shear components exchanged leave far more.
    slope = np.dot(works, changes) / np.dot(works, works)
    assert slope == pytest.approx(1, abs=0.05)
    assert np.corrcoef(works, changes)[0, 1] > 0.99


def test_files_stay_small_and_carry_their_licence():
    folder = resources.files(datasets)
    sizes = {f.name: len(f.read_bytes()) for f in folder.iterdir() if f.name.endswith(".xyz")}
    assert sum(sizes[name] for name in sizes if name.startswith("silicon")) < 450_000
    assert sum(sizes[name] for name in sizes if name.startswith("lithium")) < 250_000
    assert "BSD 3-Clause" in (folder / "LICENSE-mlearn").read_text()
    assert "10.1021/acs.jpca.9b08723" in (folder / "README.md").read_text()
