"""The demonstration does its whole job, and says where everything is."""

import json
import re
import sys

import pytest
from ase.io import read as ase_read

import gpjaxpot
from tests.cli.helpers import SMALL, finish, run, start

FIGURES = (
    "parity_energy", "parity_forces", "parity_stress", "force_error_against_std", "reliability", "z_histogram"
)  # fmt: skip


@pytest.fixture
def small_silicon(files, monkeypatch):
    """Let the demonstration have the eleven structures whose functions are compiled already."""
    parts = gpjaxpot.read(files.train), gpjaxpot.read(files.test)
    monkeypatch.setattr("gpjaxpot.applications.demo.silicon", lambda: parts)


def test_every_file_is_there_and_named(small_silicon, tmp_path):
    folder = tmp_path / "new folder" / "silicon"
    result = run("demo", "--output", folder, *SMALL)
    assert result.exit_code == 0
    names = {"silicon.safetensors", "scores.json", "predictions.xyz"} | {f"{f}.png" for f in FIGURES}
    assert {path.name for path in folder.iterdir()} == names
    printed = re.sub(r"\s", "", result.stdout)
    for name in names:
        assert name in printed
    assert all((folder / f"{name}.png").stat().st_size > 10_000 for name in FIGURES)
    scores = json.loads((folder / "scores.json").read_text())
    assert f"{scores['energy_mae_meV_per_atom']:.2f}" in result.stdout
    potential = gpjaxpot.Potential.load(folder / "silicon.safetensors")
    (first, *_) = ase_read(folder / "predictions.xyz", ":")
    assert first.info["GPJ_energy"] == pytest.approx(potential.predict(first).energy, rel=1e-9)
    assert "GPJ_forces_uncertainty" in first.arrays


def test_without_matplotlib_it_says_how_to_get_figures(small_silicon, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = run("demo", "--output", tmp_path, *SMALL)
    assert result.exit_code == 0
    assert "pip install 'gpjaxpot[plot]'" in result.stdout
    assert not list(tmp_path.glob("*.png"))
    assert (tmp_path / "silicon.safetensors").exists()


@pytest.mark.slow
def test_the_whole_demonstration(tmp_path):
    """As a newcomer runs it. Bounds are some way above what it reaches: 4 meV/atom, 0.08 eV/Å."""
    status, stdout, stderr = finish(start("demo", cwd=tmp_path), seconds=900)
    assert status == 0, stderr
    scores = json.loads((tmp_path / "gpjaxpot-demo" / "scores.json").read_text())
    assert scores["energy_mae_meV_per_atom"] < 8
    assert scores["forces_mae_eV_per_A"] < 0.12
    assert 0.8 < scores["uncertainty"]["forces"]["coverage"]["0.9"] < 1
    assert max(map(len, stdout.splitlines())) <= 80
    assert "Warning" not in stderr
