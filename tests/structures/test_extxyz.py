"""The text of extended XYZ against ASE's own reading of it."""

import io

import ase.io
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.data import chemical_symbols

from gpjaxpot.errors import InputError
from gpjaxpot.structures.elements import SYMBOLS, atomic_number, symbols
from gpjaxpot.structures.extxyz import number_like, parse_frame, split_frames
from gpjaxpot.structures.extxyz_text import format_frame
from gpjaxpot.structures.structure import Structure


def test_reads_what_ase_writes(tmp_path):
    images = [
        bulk("NaCl", "rocksalt", 5.6),
        molecule("CH3CH2OH"),
        fcc111("Pt", (2, 2, 2), vacuum=5),
    ]
    for seed, atoms in enumerate(images):
        atoms.rattle(0.1, seed=seed)
        atoms.info = {"text": 'with "quotes" and spaces', "flags": [True, False]}
        atoms.arrays["vectors"] = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    ase.io.write(tmp_path / "a.xyz", images)
    expected = ase.io.read(tmp_path / "a.xyz", ":")
    with open(tmp_path / "a.xyz") as lines:
        texts = list(split_frames(lines, "a"))
    for number, (text, atoms) in enumerate(zip(texts, expected, strict=True)):
        raw = parse_frame(text, "a", number)
        np.testing.assert_array_equal(raw.structure.positions, atoms.positions)
        np.testing.assert_array_equal(raw.structure.cell, atoms.cell)
        np.testing.assert_array_equal(raw.structure.numbers, atoms.numbers)
        assert raw.structure.pbc == tuple(atoms.pbc)
        np.testing.assert_array_equal(raw.values["vectors"], atoms.arrays["vectors"])
        assert raw.values["text"] == atoms.info["text"]


@pytest.mark.parametrize(
    "text", ["plain", "two words", 'a "b" c', "a=b", "[x]", "back\\slash", "ü"]
)
def test_any_text_survives(text):
    structure = Structure([[0.1, 0.2, 1 / 3]], [14])
    written = format_frame(structure, {"key": text, "flag": True, "list": np.array([1.5, 2])}, {})
    atoms = ase.io.read(io.StringIO(written), format="extxyz")
    assert atoms.info["key"] == text
    assert atoms.info["flag"] is True
    np.testing.assert_array_equal(atoms.info["list"], [1.5, 2])
    raw = parse_frame(next(split_frames(io.StringIO(written), "a")), "a", 0)
    assert raw.values["key"] == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0d0", 1.0),
        ("-.5D-1", -0.05),
        ("1d3", 1000.0),
        ("1e", "1e"),
        ("d", "d"),
        ("1dd2", "1dd2"),
        (2.0, 2.0),
    ],
)
def test_only_true_fortran_exponents_are_understood(text, value):
    assert number_like(text) == value


def test_fortran_exponents_in_a_list():
    np.testing.assert_array_equal(number_like("1.0d0, 2 3.5"), [1, 2, 3.5])


def test_symbols_are_those_of_ase():
    assert list(SYMBOLS) == chemical_symbols
    assert all(atomic_number(name) == z for z, name in enumerate(SYMBOLS) if z)
    assert atomic_number("si") == atomic_number("SI") == atomic_number("14") == 14
    assert symbols([1, 14]) == "H, Si"


@pytest.mark.parametrize("name", ["X", "0", "119", "Qq", "", "²"])
def test_what_is_no_element(name):
    with pytest.raises(InputError, match="no chemical element"):
        atomic_number(name)
