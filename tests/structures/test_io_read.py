"""Reading: the right labels from the right keys, and every format that ASE reads."""

import bz2
import gzip

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect

from gpjaxpot.errors import InputError
from gpjaxpot.structures.io import read, read_with_summary
from tests.structures.zoo import CELL, frame, write

STRESS9 = 'stress="1 6 5 6 2 4 5 4 3"'
VOLUME = 210.0


@pytest.fixture
def labelled():
    """Two periodic structures, one with a fixed atom, and a molecule, with EMT's labels."""
    images = [bulk("Cu", cubic=True), bulk("Au") * (2, 1, 1), molecule("N2")]
    for seed, atoms in enumerate(images):
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        if atoms.pbc.all():
            atoms.get_stress()
    images[0].set_constraint(FixAtoms([0]))
    return images


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.traj", "a.db"])
def test_formats_give_the_labels_that_were_written(tmp_path, labelled, name):
    path = tmp_path / name
    if name.endswith("db"):
        with connect(path) as rows:
            for atoms in labelled:
                rows.write(atoms, config_type="mine")
    else:
        ase.io.write(path, labelled)
    frames = read(path)
    # The xyz of ASE keeps 8 digits behind the point; the others keep all.
    tolerance = 1e-8 if "xyz" in name else 1e-14
    for atoms, got in zip(labelled, frames, strict=True):
        results = atoms.calc.results
        assert got.labels.energy == pytest.approx(results["energy"], abs=1e-12)
        np.testing.assert_allclose(got.structure.positions, atoms.positions, atol=tolerance)
        # Forces of fixed atoms are those that were calculated, not zero.
        np.testing.assert_allclose(got.labels.forces, results["forces"], atol=tolerance)
        if atoms.pbc.all():
            np.testing.assert_allclose(got.labels.stress, results["stress"], atol=1e-12)
        else:
            assert got.labels.stress is None
        assert got.structure.pbc == tuple(atoms.pbc)
    assert {f.group for f in frames} == ({"mine"} if name.endswith("db") else {None})


@pytest.mark.parametrize(("suffix", "opener"), [("gz", gzip.open), ("bz2", bz2.open)])
def test_compressed_files(tmp_path, suffix, opener):
    path = tmp_path / f"a.xyz.{suffix}"
    with opener(path, "wt") as out:
        out.write(frame())
    assert read(path)[0].labels.energy == -1.5


def test_vasprun(tmp_path):
    path = write(tmp_path, VASPRUN, "vasprun.xml")
    frames, summary = read_with_summary(path)
    # e_fr_energy, the free energy: the forces are its derivative.
    assert frames[0].labels.energy == -10.9
    np.testing.assert_allclose(frames[0].labels.forces, [[0.5, 0, 0], [-0.5, 0, 0]])
    # VASP: kBar, compression positive; 1602.1766 kBar are 1 eV/Å³.
    np.testing.assert_allclose(frames[0].labels.stress[0], -16.021766 / 1602.1766, rtol=1e-6)
    assert any("free_energy" in note for note in summary.notes)


def test_free_energy_and_energy_are_told_apart(tmp_path):
    """Smearing parts them; the forces belong to the free energy, and a person should know by how much they differ."""
    both = frame("energy=-1.5 free_energy=-1.51")
    frames, summary = read_with_summary(write(tmp_path, both))
    assert frames[0].labels.energy == -1.51
    assert any("free_energy used, not energy" in note for note in summary.notes)
    assert any("differ by up to 5 meV/atom" in note for note in summary.notes)
    frames, summary = read_with_summary(write(tmp_path, both), keys={"energy": "energy"})
    assert frames[0].labels.energy == -1.5
    assert any("energy used, not free_energy" in note for note in summary.notes)
    _, summary = read_with_summary(write(tmp_path, both.replace("-1.51", "-1.5")))
    assert not any("differ by" in note for note in summary.notes)


def test_cut_vasprun_is_refused(tmp_path):
    path = write(tmp_path, VASPRUN.replace("</modeling>", ""), "vasprun.xml")
    with pytest.raises(InputError, match="ase convert"):
        read(path)


def test_several_files_and_periodic_beside_open_structures(tmp_path):
    first = write(tmp_path, frame() + frame(cell=""), "one.xyz")
    second = write(tmp_path, frame(cell=f'{CELL} pbc="T T F"'), "two.xyz")
    frames, summary = read_with_summary(first, second)
    assert [f.structure.pbc for f in frames] == [(True,) * 3, (False,) * 3, (True, True, False)]
    assert [f.source.split(" (")[0].split("/")[-1] for f in frames] == [
        "one.xyz, frame 0",
        "one.xyz, frame 1",
        "two.xyz, frame 0",
    ]
    assert summary.periodic == {0: 1, 2: 1, 3: 1}


def test_index_chooses_frames_and_keeps_their_numbers(tmp_path):
    path = write(tmp_path, "".join(frame(f"energy={i}") for i in range(5)))
    assert [f.labels.energy for f in read(path, index="1:4:2")] == [1, 3]
    assert read(path, index=-1)[0].labels.energy == 4
    assert read(path, index="-2")[0].source.endswith("frame 3 (line 13)")
    assert [f.labels.energy for f in read(path, index=slice(None, None, -2))] == [4, 2, 0]
    assert [f.labels.energy for f in read(path, index="3:")] == [3, 4]


@pytest.mark.parametrize("index", ["a", "1:2:3:4", "::0", "1.5"])
def test_index_that_is_none(tmp_path, index):
    with pytest.raises(InputError, match="index must be"):
        read(write(tmp_path, frame()), index=index)


def test_index_beyond_the_end(tmp_path):
    with pytest.raises(InputError, match="has 1 frames, of which the index chooses none"):
        read(write(tmp_path, frame()), index="5:")


@pytest.mark.parametrize(
    ("comment", "energy"),
    [
        ("REF_energy=-2", -2),
        ("energy=-2", -2),
        ("free_energy=-3 energy=-2", -3),
        ("REF_energy=-2 energy=-2.00001", -2),
        ("REF_energy=-2 free_energy=-3 energy=-2", -2),
        ("REF_energy=-3 free_energy=-3 energy=-2", -3),
        ("energy=-2 dft_energy=-9 DFT_energy=-8", -2),
        ("dft_energy=-9", None),
        ("energy=-1.0d0", -1),
        ("energy=-1.5D+1", -15),
        ("energy=0", 0),
        ("", None),
    ],
)
def test_which_key_gives_the_energy(tmp_path, comment, energy):
    assert read(write(tmp_path, frame(comment)))[0].labels.energy == energy


@pytest.mark.parametrize(
    ("comment", "names"),
    [
        ("REF_energy=-2 energy=-2.5", ("REF_energy", "energy")),
        ("REF_energy=-2 free_energy=-2.5", ("REF_energy", "free_energy")),
        ("REF_energy=-2 free_energy=-3 energy=-4", ("REF_energy", "free_energy")),
        (f'{STRESS9} virial="1 0 0 0 1 0 0 0 1"', ("stress", "virial")),
        (f'{STRESS9} REF_stress="1 2 3 4 5 7"', ("REF_stress", "stress")),
        ('REF_virial="1 2 3 4 5 7" virials="1 2 3 4 5 9"', ("REF_virial", "virials")),
    ],
)
def test_sources_that_differ_are_an_error_that_names_both(tmp_path, comment, names):
    with pytest.raises(InputError, match=rf"frame 0 \(line 1\): {names[0]} and {names[1]} both"):
        read(write(tmp_path, frame(comment)))


def test_named_key_wins_over_all_others(tmp_path):
    path = write(tmp_path, frame("energy=-1 REF_energy=-5 dft_energy=-9"))
    frames, summary = read_with_summary(path, keys={"energy": "dft_energy"})
    assert frames[0].labels.energy == -9
    assert summary.keys["energy"] == {"dft_energy": 1}


def test_named_group_and_forces(tmp_path):
    text = frame("energy=-1 label=hot").replace("forces", "dft_forces")
    path = write(tmp_path, text)
    assert read(path)[0].labels.forces is None
    got = read(path, keys={"forces": "dft_forces", "group": "label"})[0]
    np.testing.assert_array_equal(got.labels.forces, [[0.1, 0, 0], [-0.1, 0, 0]])
    assert got.group == "hot"


def test_forces_that_differ(tmp_path):
    rows = ("Si 0 0 0 0.1 0 0 0.2 0 0", "Si 1 1 1 0 0 0 0 0 0")
    text = frame(rows=rows).replace("forces:R:3", "forces:R:3:REF_forces:R:3")
    with pytest.raises(InputError, match="REF_forces and forces both give the forces"):
        read(write(tmp_path, text))


@pytest.mark.parametrize("key", ["REF_force", "REF_forces", "forces", "force"])
def test_names_of_forces(tmp_path, key):
    path = write(tmp_path, frame().replace("forces", key))
    assert read(path)[0].labels.forces is not None


@pytest.mark.parametrize(
    "comment",
    [
        STRESS9,
        'REF_stress="1 6 5 6 2 4 5 4 3"',
        'REF_stress="1 2 3 4 5 6"',
        'stress="1 2 3 4 5 6"',
        'REF_stress="1.0d0 2 3 4 5 6"',
        f'virial="{" ".join(str(-VOLUME * x) for x in (1, 6, 5, 6, 2, 4, 5, 4, 3))}"',
        f'REF_virials="{" ".join(str(-VOLUME * x) for x in (1, 2, 3, 4, 5, 6))}"',
        f'{STRESS9} virial="{" ".join(str(-VOLUME * x) for x in (1, 6, 5, 6, 2, 4, 5, 4, 3))}"',
    ],
)
def test_stress_in_all_its_guises(tmp_path, comment):
    frames = read(write(tmp_path, frame(comment)))
    # 1e-12: a virial is divided by a volume that is itself a determinant.
    np.testing.assert_allclose(frames[0].labels.stress, [1, 2, 3, 4, 5, 6], rtol=1e-12)


def test_named_virial_is_taken_for_a_virial(tmp_path):
    path = write(tmp_path, frame(f'mine="{" ".join(str(-VOLUME * x) for x in range(1, 7))}"'))
    frames = read(path, keys={"virial": "mine"})
    np.testing.assert_allclose(frames[0].labels.stress, [1, 2, 3, 4, 5, 6], rtol=1e-12)


@pytest.mark.parametrize(
    "key", [STRESS9, 'virial="1 6 5 6 2 4 5 4 3"', 'REF_stress="nan 2 3 4 5 6"']
)
@pytest.mark.parametrize("cell", ["", f'{CELL} pbc="T T F"'])
def test_stress_of_slabs_and_molecules_is_left_out_and_said(tmp_path, key, cell):
    frames, summary = read_with_summary(write(tmp_path, frame(key, cell=cell)))
    assert frames[0].labels.stress is None
    assert summary.counts["stress"] == 0
    assert any(note.startswith("stress left out") for note in summary.notes)
    assert not summary.unused


def test_gap_noise_goes_into_the_labels(tmp_path):
    comment = f"energy=1 {STRESS9} energy_sigma=0.1 force_sigma=2e-1 virial_sigma=42.0"
    labels = read(write(tmp_path, frame(comment)))[0].labels
    assert labels.energy_sigma == 0.1
    assert labels.forces_sigma == 0.2
    assert labels.stress_sigma == pytest.approx(42.0 / VOLUME, rel=1e-14)
    assert read(write(tmp_path, frame(f"{STRESS9} stress_sigma=0.3")))[0].labels.stress_sigma == 0.3


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("energy=1 energy_sigma=0", "energy_sigma must be positive"),
        ("energy=1 energy_sigma=small", "energy_sigma must be a number"),
        (f"{STRESS9} stress_sigma=1 virial_sigma=1", "contradict"),
    ],
)
def test_noise_that_makes_no_sense(tmp_path, comment, message):
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, frame(comment)))


def test_gap_masks_are_said_to_be_unused(tmp_path):
    rows = ("Si 0 0 0 0 0 0 T", "Si 1 1 1 0 0 0 F")
    text = frame(rows=rows).replace("forces:R:3", "forces:R:3:force_mask:L:1")
    _, summary = read_with_summary(write(tmp_path, text))
    assert any("force_mask is not used" in note for note in summary.notes)


def test_results_that_contradict_the_structures_own_entries(tmp_path):
    atoms = Atoms("H", info={"energy": 1.0})
    atoms.calc = SinglePointCalculator(atoms, energy=2.0)
    ase.io.write(tmp_path / "a.traj", atoms)
    with pytest.raises(InputError, match="energy stands twice"):
        read(tmp_path / "a.traj")


def test_summary_tells_what_was_found(tmp_path):
    text = frame("energy=1 config_type=hot") + frame("energy=2 other_energy=7") + frame("x=1")
    text = text.replace(
        "Properties=species:S:1:pos:R:3:forces:R:3 x", "Properties=species:S:1:pos:R:3:velo:R:3 x"
    )
    atom = "1\nProperties=species:S:1:pos:R:3 config_type=IsolatedAtom energy=-0.5\nH 0 0 0\n"
    frames, summary = read_with_summary(write(tmp_path, text + atom))
    assert summary.n_structures == len(frames) == 4
    assert summary.n_atoms == 7
    assert summary.n_isolated == 1
    assert summary.counts == {"energy": 3, "forces": 2, "stress": 0}
    assert summary.keys["forces"] == {"forces": 2}
    assert summary.groups == {"hot": 1, "IsolatedAtom": 1}
    assert summary.species == {"H": 1, "Si": 6}
    assert summary.unused == {"other_energy": 1}
    table = "\n".join(summary.table())
    assert "4 structures, 7 atoms" in table
    assert "other_energy (1 structure) looks like a label" in table
    assert "1 structure without any label" in table


def test_text_that_ase_reads_is_read_the_same(tmp_path):
    # Plain XYZ, lower-case symbols, atomic numbers, CRLF, blank lines between frames, a BOM.
    text = "\ufeff2\r\njust a comment\r\nsi 0 0 0 9.9\r\n14 1 1 1\r\n\r\n"
    path = tmp_path / "plain.xyz"
    path.write_bytes(text.encode())
    got = read(path, labels_required=False)[0].structure
    np.testing.assert_array_equal(got.numbers, [14, 14])
    assert got.pbc == (False, False, False)


def test_atomic_numbers_and_fortran_columns(tmp_path):
    rows = ("14 0.0d0 0 0 1.0D-1 0 0", "14 1 1 1 0 0 0")
    text = frame(rows=rows).replace("species:S:1", "Z:I:1")
    frames, summary = read_with_summary(write(tmp_path, text))
    assert frames[0].labels.forces[0, 0] == 0.1
    assert any("Fortran" in note for note in summary.notes)


VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <kpoints>
  <varray name="kpointlist"><v>0.0 0.0 0.0</v></varray>
  <varray name="weights"><v>1.0</v></varray>
 </kpoints>
 <parameters></parameters>
 <atominfo><array name="atoms"><set>
  <rc><c>Si</c><c>1</c></rc><rc><c>Si</c><c>1</c></rc>
 </set></array></atominfo>
 <structure name="initialpos">
  <crystal><varray name="basis"><v>5 0 0</v><v>0 6 0</v><v>0 0 7</v></varray></crystal>
  <varray name="positions"><v>0 0 0</v><v>0.3 0.3 0.3</v></varray>
 </structure>
 <calculation>
  <scstep><energy><i name="e_fr_energy">-10.9</i><i name="e_0_energy">-10.8</i></energy></scstep>
  <structure>
   <crystal><varray name="basis"><v>5 0 0</v><v>0 6 0</v><v>0 0 7</v></varray></crystal>
   <varray name="positions"><v>0 0 0</v><v>0.3 0.3 0.3</v></varray>
  </structure>
  <varray name="forces"><v>0.5 0 0</v><v>-0.5 0 0</v></varray>
  <varray name="stress"><v>16.021766 0 0</v><v>0 0 0</v><v>0 0 0</v></varray>
  <energy><i name="e_fr_energy">-10.9</i><i name="e_0_energy">-10.8</i></energy>
 </calculation>
</modeling>
"""
