"""Data sets that are not there are left out with a message; structures are what they say."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.inputs import data_set, moved, silicon


def test_a_missing_set_is_left_out_with_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data_set(str(tmp_path), "Si_mlearn") is None
    assert "Si_mlearn: left out" in capsys.readouterr().out


def test_a_set_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "Si_mlearn"
    folder.mkdir()
    for name in ("train.xyz", "test.xyz"):
        (folder / name).touch()
    assert data_set(str(tmp_path), "Si_mlearn") == folder


@pytest.mark.parametrize(("repeats", "atoms"), [(2, 64), (4, 512)])
def test_silicon_has_eight_atoms_a_cell(repeats: int, atoms: int) -> None:
    assert len(silicon(repeats)) == atoms


def test_moved_leaves_the_original() -> None:
    atoms = silicon(1)
    before = atoms.positions.copy()
    after = moved(atoms, np.random.default_rng(0))
    np.testing.assert_array_equal(atoms.positions, before)
    # A tenth of the skin of a neighbour list: several standard deviations of 0.01 Å, never 0.
    assert 0 < np.abs(after.positions - before).max() < 0.05
