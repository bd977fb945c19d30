"""A zoo of broken files: each gives one message that names file, frame and remedy."""

import gzip
import os

import ase.io
import pytest
from ase.build import bulk, molecule

from gpjaxpot.errors import InputError
from gpjaxpot.structures.io import read
from tests.structures.zoo import ROWS, frame, write

GOOD = frame()


@pytest.mark.parametrize(
    ("bad", "place", "message"),
    [
        (frame("energy=nan"), "frame 1 (line 5)", "energy is nan"),
        (frame("energy=-inf"), "frame 1 (line 5)", "not finite"),
        (frame("energy=1e"), "frame 1 (line 5)", "got '1e'"),
        (frame("energy=None"), "frame 1 (line 5)", "got 'None'"),
        (frame("energy"), "frame 1 (line 5)", "must be a number"),
        (frame('energy="1 2"'), "frame 1 (line 5)", "one number"),
        (frame('stress="1 2 3"'), "frame 1 (line 5)", "6 Voigt components"),
        (frame('stress="1 2 3 4 5 6 7 8 9"'), "frame 1 (line 5)", "not symmetric"),
        (frame('stress="a b c d e f"'), "frame 1 (line 5)", "stress must be a number"),
        (frame('virial="nan 2 3 4 5 6"'), "frame 1 (line 5)", "not finite"),
        (frame('virial="a 2 3 4 5 6"'), "frame 1 (line 5)", "must hold numbers"),
        (frame('Lattice="1 2 3"', cell=""), "frame 1 (line 5)", "comment line"),
        (frame(cell='Lattice="0 0 0 0 0 0 0 0 0" pbc="T T T"'), "frame 1 (line 5)", "cell vectors"),
        (frame(cell='pbc="T T T"'), "frame 1 (line 5)", "cell vectors"),
        (frame(cell="pbc=maybe"), "frame 1 (line 5)", "pbc must be"),
        (frame(rows=(ROWS[0], "Si nan 0 0 0 0 0")), "frame 1 (line 5)", "position of atom 1"),
        (frame(rows=(ROWS[0], "Si 1 0 0 0 inf 0")), "frame 1 (line 5)", "force on atom 1"),
        (frame(rows=(ROWS[0], "Si 123456 0 0 0 0 0")), "frame 1 (line 5)", "decimal point"),
        (frame(rows=(ROWS[0], "Si 1.0.0 0 0 0 0 0")), "frame 1 (line 8)", "'1.0.0 0 0'"),
        (frame(rows=(ROWS[0], "Xx 1.0 0 0 0 0 0")), "frame 1 (line 8)", "'Xx' is no"),
        (frame(rows=(ROWS[0], "Si1 1.0 0 0 0 0 0")), "frame 1 (line 8)", "mean 'Si'"),
        (frame(rows=(ROWS[0], "Si 1.0 0 0 0 0")), "frame 1 (line 8)", "expected 7 columns, got 6"),
        (
            frame(rows=(ROWS[0], "Si 1 0 0 0 0 0 0")),
            "frame 1 (line 8)",
            "expected 7 columns, got 8",
        ),
        (GOOD.replace("2\n", "3\n", 1), "frame 1 (line 5)", "after 2 of 3 atoms"),
        (GOOD.replace("2\n", "3\n", 1) + GOOD, "frame 1 (line 9)", "expected 7 columns, got 1"),
        (GOOD.replace("2\n", "1\n", 1), "frame 2 (line 8)", "expected a number of atoms"),
        (GOOD[:-30], "frame 1 (line 5)", "truncated"),
        ("2\n", "frame 1 (line 5)", "after 0 of 2 atoms"),
        ("hello\n", "frame 1 (line 5)", "got 'hello'"),
        ("0\nenergy=1\n", "frame 1 (line 5)", "0 atoms"),
        ("-3\nenergy=1\n", "frame 1 (line 5)", "-3 atoms"),
        (GOOD.replace("pos:R:3", "pos:R"), "frame 1 (line 5)", "triplets"),
        (GOOD.replace("pos:R:3", "where:R:3"), "frame 1 (line 5)", "must have species"),
        (GOOD.replace("forces:R:3", "forces:R:2:more:R:1"), "frame 1 (line 5)", "forces must have"),
        (GOOD.replace("forces:R:3", "forces:S:3"), "frame 1 (line 5)", "must hold numbers"),
    ],
)
def test_broken_frame(tmp_path, bad, place, message):
    path = write(tmp_path, GOOD + bad, "my data.xyz")
    with pytest.raises(InputError) as error:
        read(path)
    text = str(error.value)
    assert text.startswith(f"{path}, {place}: ")
    assert message in text
    assert "\n" not in text


def test_missing_file_suggests_a_near_one(tmp_path):
    write(tmp_path, GOOD, "train.xyz")
    with pytest.raises(InputError, match=r"no file .*trian.xyz \(did you mean 'train.xyz'\?\)"):
        read(tmp_path / "trian.xyz")
    with pytest.raises(InputError, match="no file"):
        read(tmp_path / "nowhere" / "a.xyz")


@pytest.mark.parametrize("text", ["", "\n\n  \n"])
def test_empty_file(tmp_path, text):
    with pytest.raises(InputError, match="empty|no frames"):
        read(write(tmp_path, text))


def test_directory_and_no_path_at_all(tmp_path):
    with pytest.raises(InputError, match="is a directory"):
        read(tmp_path)
    with pytest.raises(InputError, match="no file to read"):
        read()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path):
    path = write(tmp_path, GOOD)
    path.chmod(0)
    with pytest.raises(InputError, match="permissions"):
        read(path)


def test_binary_under_the_name_of_text(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(InputError, match="a.xyz"):
        read(path)


def test_damaged_archive(tmp_path):
    path = tmp_path / "a.xyz.gz"
    path.write_bytes(gzip.compress((GOOD * 500).encode())[:-40])
    with pytest.raises(InputError, match="truncated, damaged"):
        read(path)


def test_unknown_format(tmp_path):
    with pytest.raises(InputError, match="format of .*a.unknown is not known"):
        read(write(tmp_path, "nothing that anyone knows", "a.unknown"))


@pytest.mark.parametrize("name", ["a.traj", "a.db", "a.cif"])
def test_damaged_file_of_another_format(tmp_path, name):
    path = tmp_path / name
    ase.io.write(path, [bulk("Si")] * (1 if name == "a.cif" else 20))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        read(path)


def test_no_labels_lists_keys_and_guesses(tmp_path):
    text = frame("dft_energy=-1 colour=red").replace(":forces", ":dft_forces")
    with pytest.raises(InputError) as error:
        read(write(tmp_path, text))
    message = str(error.value)
    assert "colour" in message
    assert "Did you mean dft_energy for energy, dft_forces for forces?" in message
    assert "keys={'energy': 'dft_energy', 'forces': 'dft_forces'}" in message


def test_no_labels_and_nothing_to_guess(tmp_path):
    ase.io.write(tmp_path / "a.xyz", molecule("H2O"))
    with pytest.raises(InputError, match="name their keys"):
        read(tmp_path / "a.xyz")
    assert len(read(tmp_path / "a.xyz", labels_required=False)) == 1


def test_named_key_that_no_structure_has(tmp_path):
    with pytest.raises(InputError, match=r"'dft_energi' named for energy \(did you mean"):
        read(write(tmp_path, frame("dft_energy=1")), keys={"energy": "dft_energi"})


def test_key_named_for_nothing(tmp_path):
    with pytest.raises(InputError, match=r"not for 'energi' \(did you mean 'energy'"):
        read(write(tmp_path, GOOD), keys={"energi": "x"})
