"""The zoo of broken files: each beast has its name; healthy files, whatever is odd about them, have none."""

import dataclasses

import numpy as np
import pytest
from ase.build import molecule

from gpjaxpot.datasets import lithium, silicon
from gpjaxpot.structures.check import check
from gpjaxpot.structures.io import read
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.structure import Structure
from tests.structures import broken
from tests.structures.zoo import write

# Said of healthy data too: facts that one may want to know.
QUIET = {"slab-stress", "copy", "no-stress", "no-forces", "no-energy", "collinear"}


def test_the_zoo_is_large_enough():
    assert len(broken.ZOO) >= 25


@pytest.mark.parametrize("name", broken.ZOO)
def test_each_beast_has_its_name(name, tmp_path):
    beast = broken.ZOO[name]
    frames = read(write(tmp_path, beast.text()))
    found = [f for f in check(frames) if f.code == beast.code]
    assert len(found) == 1, [str(f) for f in check(frames)]
    assert found[0].frames == tuple(beast.frames)
    assert found[0].remedy
    assert beast.words in f"{found[0].message} {found[0].remedy}"
    assert "\n" not in str(found[0])


@pytest.mark.parametrize("name", [n for n, b in broken.ZOO.items() if b.code.startswith(("force-s", "stress", "ener"))])
def test_a_fault_of_labels_has_no_second_name(name, tmp_path):
    """A diagnosis is of use only if it does not come with wrong ones."""
    beast = broken.ZOO[name]
    codes = {f.code for f in check(read(write(tmp_path, beast.text())))} - QUIET
    allowed = {beast.code}
    if beast.code.startswith("stress"):
        # A virial, and VASP's pressure, differ by sign and by unit.
        allowed |= {"stress-sign", "stress-units"}
    assert codes <= allowed


def test_the_healthy_file_of_the_zoo(tmp_path):
    text = "".join(sheet.text() for sheet in broken.healthy())
    assert {f.code for f in check(read(write(tmp_path, text)))} <= QUIET


@pytest.mark.parametrize("part", [0, 1], ids=["train", "test"])
@pytest.mark.parametrize("data", [silicon, lithium])
def test_shipped_data_raise_no_alarm(data, part):
    findings = check(data()[part])
    assert {f.code for f in findings} <= QUIET
    assert all(f.level == "note" for f in findings)


def reread(tmp_path, sheets):
    """Return the frames that the sheets make, through a file."""
    return read(write(tmp_path, "".join(sheet.text() for sheet in sheets)))


def test_unwrapped_positions_are_no_fault(tmp_path):
    sheets = broken.healthy()
    generator = np.random.default_rng(1)
    for sheet in sheets:
        sheet.positions += generator.integers(-2, 3, size=sheet.positions.shape) @ sheet.cell
    assert {f.code for f in check(reread(tmp_path, sheets))} <= QUIET


def test_skewed_cells_smaller_than_the_cutoff_are_no_fault(tmp_path):
    sheets = broken.healthy()
    for sheet in sheets:
        sheet.cell[2] += 2 * sheet.cell[0] - sheet.cell[1]
    frames = reread(tmp_path, sheets)
    assert min(f.structure.volume for f in frames) < 5.5**3 / 2
    assert {f.code for f in check(frames)} <= QUIET


def test_an_isolated_atom_among_them_is_no_fault():
    alone = Frame(Structure([[0.0, 0, 0]], [3]), Labels(-0.3, [[0.0, 0, 0]]), "IsolatedAtom", "atom")
    assert {f.code for f in check([*lithium()[1], alone])} <= QUIET


def test_mixed_periodicity_is_no_fault():
    water = molecule("H2O")
    frames = []
    for seed in range(6):
        atoms = water.copy()
        atoms.rattle(0.01, seed=seed)
        atoms.center(vacuum=5.0)
        atoms.pbc = [(False, False, False), (True, True, False), (True, True, True)][seed % 3]
        energy = -14.0 + 0.01 * seed
        frames.append(Frame(Structure.from_ase(atoms), Labels(energy), None, f"w{seed}"))
    assert {f.code for f in check(frames)} <= QUIET


def test_dimers_high_above_the_bulk_are_no_other_calculation():
    frames = list(lithium()[1])
    for k in range(6):
        dimer = Structure([[0.0, 0, 0], [2.6 + 0.1 * k, 0, 0]], [3, 3], 15 * np.eye(3), True)
        frames.append(Frame(dimer, Labels(2 * -0.9 + 0.02 * k), "dimer", f"dimer {k}"))
    assert "energy-offset" not in {f.code for f in check(frames)}


def test_the_order_of_frames_and_atoms_does_not_matter(tmp_path):
    sheets = broken.healthy()[::-1]
    for sheet in sheets:
        sheet.positions, sheet.forces = sheet.positions[::-1], -sheet.forces[::-1]
    findings = check(reread(tmp_path, sheets))
    assert next(f for f in findings if f.code == "force-sign").level == "error"


def test_one_mad_frame_does_not_silence_the_diagnosis(tmp_path):
    sheets = broken.healthy()
    for sheet in sheets:
        sheet.forces = -sheet.forces
    mad = dataclasses.replace(sheets[3], forces=sheets[3].forces * 1e4)
    sheets[3] = mad
    assert "force-sign" in {f.code for f in check(reread(tmp_path, sheets))}


def test_too_few_energies_are_not_judged(tmp_path):
    sheets = broken.healthy()[:3]
    for sheet in sheets:
        sheet.forces, sheet.stress = -sheet.forces, None
    assert "force-sign" not in {f.code for f in check(reread(tmp_path, sheets))}
