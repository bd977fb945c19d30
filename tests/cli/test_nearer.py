"""predict tells, in words and in the file, where atoms come nearer than in any structure of the fit."""

import re

import numpy as np
import pytest

from gpjaxpot.potential.potential import Potential
from gpjaxpot.structures.distances import least_distances
from gpjaxpot.structures.io import read
from tests.cli.helpers import run

KEY = "GPJ_below_training_min_distance"


@pytest.fixture
def squeezed(files, tmp_path):
    """Three structures, in the second of which two atoms are 1 Å apart."""
    from ase.io import read as ase_read
    from ase.io import write

    images = ase_read(files.test, ":")
    images[1].positions[1] = images[1].positions[0] + [1.0, 0, 0]
    path = tmp_path / "squeezed.xyz"
    write(path, images, columns=["symbols", "positions"], write_results=False)
    return path


def flags(path):
    return re.findall(rf"{KEY}=(\w)", path.read_text())


def test_the_model_knows_the_least_distances_of_its_data(files):
    found = Potential.load(files.model).summary()["least_distances"]
    least = least_distances([f.structure for f in read(files.train)], [14], 3.5)
    assert found == {"Si-Si": float(least[0, 0])}


def test_nearer_atoms_are_told_and_flagged(files, squeezed, tmp_path):
    out = tmp_path / "out.xyz"
    result = run("predict", files.model, squeezed, "--output", out)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "warning 1 of 3 structures have atoms nearer to each other than any that the model was fitted to" in text
    assert "atoms 0 (Si) and 1 (Si), 1.000 Å" in text
    assert "squeezed.xyz, frame 1" in text
    assert flags(out) == ["F", "T", "F"]
    # They are predicted all the same, by finite numbers, and pushed apart.
    from ase.io import read as ase_read

    atoms = ase_read(out, 1)
    forces = atoms.arrays["GPJ_forces"]
    assert np.isfinite(atoms.info["GPJ_energy"])
    assert np.isfinite(forces).all()
    assert (forces[1] - forces[0])[0] > 0


def test_structures_of_the_fit_are_not_flagged(files, tmp_path):
    out = tmp_path / "out.xyz"
    result = run("predict", files.model, files.train, "--output", out)
    assert result.exit_code == 0
    assert "nearer to each other" not in " ".join(result.stdout.split())
    assert flags(out) == ["F"] * 8


def test_a_model_without_that_record_tells_by_its_repulsion(files, squeezed, tmp_path):
    from dataclasses import replace

    from gpjaxpot.applications.least_distances import least_distances_of

    potential = Potential.load(files.model)
    record = {key: value for key, value in potential.record.items() if key != "least_distances"}
    older, model = replace(potential, record=record), tmp_path / "older.safetensors"
    outer = float(potential.repulsion.outer[0, 0])
    assert least_distances_of(older) == {"Si-Si": outer}
    assert outer < potential.record["least_distances"]["Si-Si"]
    older.save(model)
    result = run("predict", model, squeezed, "--output", tmp_path / "out.xyz")
    assert "1 of 3 structures have atoms nearer" in " ".join(result.stdout.split())
    assert flags(tmp_path / "out.xyz") == ["F", "T", "F"]
    silent = replace(older, repulsion=None)
    assert least_distances_of(silent) == {}
    silent.save(model)
    assert run("predict", model, squeezed, "--output", tmp_path / "out.xyz").exit_code == 0
    assert flags(tmp_path / "out.xyz") == []
