"""Predictions on disk: nothing lost, nothing half-written, readable by anyone."""

import os
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase.build import bulk, molecule

from gpjaxpot.errors import InputError
from gpjaxpot.structures.io import read, write_predictions
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.structure import Structure


def prediction(n, rng, stress=True, spread=True):
    """Return a record with the fields of a prediction, filled with awkward numbers."""
    shapes = {"energy": (), "forces": (n, 3), "energies": (n,), "stress": (6,) if stress else None}
    fields = {}
    for name, shape in shapes.items():
        fields[name] = None if shape is None else rng.normal(size=shape) / 3
        for part in ("std", "epistemic_std", "aleatoric_std"):
            # Atoms' energies are not observed: no noise model, no aleatoric part.
            absent = shape is None or not spread or (name, part) == ("energies", "aleatoric_std")
            fields[f"{name}_{part}"] = None if absent else rng.exponential(size=shape)
    return SimpleNamespace(**fields)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    crystal, water = bulk("Si") * (2, 1, 1), molecule("H2O")
    crystal.rattle(0.1, seed=1)
    frames = [
        Frame(
            Structure.from_ase(crystal),
            Labels(
                1 / 3,
                rng.normal(size=(4, 3)),
                rng.normal(size=6),
                energy_sigma=0.1,
                forces_sigma=0.2,
                stress_sigma=0.3,
            ),
            'odd "name", [two] = words',
        ),
        Frame(Structure.from_ase(water), Labels(energy=-2.0), "plain"),
        Frame(Structure.from_ase(water)),
    ]
    predictions = [prediction(4, rng), prediction(3, rng, False), prediction(3, rng, False, False)]
    return frames, predictions


def test_ase_reads_every_value_back_bit_for_bit(tmp_path, data):
    frames, predictions = data
    write_predictions(tmp_path / "out.xyz", frames, predictions)
    names = {"std": "", "epistemic_std": "_epistemic", "aleatoric_std": "_aleatoric"}
    for atoms, frame, made in zip(
        ase.io.read(tmp_path / "out.xyz", ":"), frames, predictions, strict=True
    ):
        np.testing.assert_array_equal(atoms.positions, frame.structure.positions)
        np.testing.assert_array_equal(atoms.cell, frame.structure.cell)
        np.testing.assert_array_equal(atoms.numbers, frame.structure.numbers)
        np.testing.assert_array_equal(atoms.pbc, frame.structure.pbc)
        held = {**atoms.info, **atoms.arrays}
        expected = set()
        for name in ("energy", "forces", "stress", "energies"):
            pairs = {f"GPJ_{name}": getattr(made, name)}
            for field, suffix in names.items():
                pairs[f"GPJ_{name}_uncertainty{suffix}"] = getattr(made, f"{name}_{field}")
            for key, value in pairs.items():
                if value is not None:
                    expected.add(key)
                    np.testing.assert_array_equal(held[key], value)
        assert {key for key in held if key.startswith("GPJ_")} == expected


def test_labels_and_noise_are_kept_and_can_be_read_again(tmp_path, data):
    frames, predictions = data
    write_predictions(tmp_path / "out.xyz", frames, predictions)
    for got, frame in zip(read(tmp_path / "out.xyz"), frames, strict=True):
        assert got.group == frame.group
        for field in ("energy", "forces", "stress", "energy_sigma", "forces_sigma", "stress_sigma"):
            one, other = getattr(got.labels, field), getattr(frame.labels, field)
            assert (one is None) == (other is None)
            if one is not None:
                np.testing.assert_array_equal(one, other)


def test_predictions_alone_are_not_taken_for_labels(tmp_path, data):
    frames, predictions = data
    write_predictions(tmp_path / "out.xyz", frames[2:], predictions[2:])
    with pytest.raises(InputError, match="none with an energy"):
        read(tmp_path / "out.xyz")


def test_structures_and_ase_atoms_will_do(tmp_path, data):
    frames, predictions = data
    items = [frames[0].structure, frames[1].structure.to_ase()]
    write_predictions(tmp_path / "out.xyz", items, predictions[:2], prefix="MINE_")
    first, second = ase.io.read(tmp_path / "out.xyz", ":")
    assert first.info["MINE_energy"] == predictions[0].energy
    assert second.info["MINE_energy"] == predictions[1].energy


def test_a_fault_in_the_middle_leaves_the_old_file(tmp_path, data):
    frames, predictions = data
    path = tmp_path / "out.xyz"
    path.write_text("old")
    predictions[1].forces = np.zeros((7, 3))
    with pytest.raises(
        InputError, match=r"prediction.forces has shape \(7, 3\), expected \(3, 3\)"
    ):
        write_predictions(path, frames, predictions)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.xyz"]


def test_unequal_numbers_and_prefixes_of_labels_are_refused(tmp_path, data):
    frames, predictions = data
    with pytest.raises(InputError, match="3 structures but 2 predictions"):
        write_predictions(tmp_path / "out.xyz", frames, predictions[:2])
    for prefix in ("", "REF_"):
        with pytest.raises(InputError, match="prefix"):
            write_predictions(tmp_path / "out.xyz", frames, predictions, prefix=prefix)
