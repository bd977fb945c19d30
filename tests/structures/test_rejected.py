"""Structures are left out only on request, each with its place and its reason, and can be mended and read again."""

import re

import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.structures.check import check
from gpjaxpot.structures.io import read, read_with_summary
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.rejected import Rejected, check_few, check_place, leave_out, write_rejected
from gpjaxpot.structures.structure import Structure
from tests.structures import broken
from tests.structures.zoo import frame, write

GOOD = frame()
UNREADABLE = {
    "NaN energy": (frame("energy=nan"), "energy is nan"),
    "no number": (frame("energy=1e"), "got '1e'"),
    "NaN position": (frame(rows=("Si 0 0 nan 0 0 0", "Si 1 1 1 0 0 0")), "position of atom 0"),
    "infinite force": (frame(rows=("Si 0 0 0 0 0 0", "Si 1 1 1 0 inf 0")), "force on atom 1"),
    "a word in a column": (frame(rows=("Si 0 0 0 0 0 0", "Si 1 1 one 0 0 0")), "which is no value"),
    "no element": (frame(rows=("Xx 0 0 0 0 0 0", "Si 1 1 1 0 0 0")), "Xx"),
    "a column too few": (frame(rows=("Si 0 0 0 0 0", "Si 1 1 1 0 0 0")), "expected 7 columns"),
    "two energies that differ": (frame("energy=-1.5 REF_energy=-1.6"), "differ by 0.1"),
    "a flat cell": (frame(cell='Lattice="5.0 0 0 0 0 0 0 0 7.0"'), "cell vectors"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_structure_that_cannot_be_used_is_set_aside_with_its_text(name, tmp_path):
    text, reason = UNREADABLE[name]
    path = write(tmp_path, GOOD + text + GOOD)
    with pytest.raises(InputError, match="frame 1"):
        read(path)
    rejected: list[Rejected] = []
    frames, summary = read_with_summary(path, rejected=rejected)
    assert [f.source for f in frames] == [f"{path}, frame 0 (line 1)", f"{path}, frame 2 (line 9)"]
    assert summary.n_structures == 2
    (one,) = rejected
    assert one.source == f"{path}, frame 1 (line 5)"
    assert reason in one.reason
    assert one.text == text
    assert one.told.count("frame 1") == 1


def test_a_reason_that_names_another_frame_gets_the_place():
    assert Rejected("a.xyz, frame 1 (line 5)", "as a.xyz, frame 12", "").told.startswith("a.xyz, frame 1 (line 5): as")


def test_a_file_that_is_cut_off_is_refused_all_the_same(tmp_path):
    path = write(tmp_path, GOOD + GOOD[:-30])
    with pytest.raises(InputError, match="frame 1"):
        read_with_summary(path, rejected=[])


def test_nothing_left_is_refused_with_the_reason(tmp_path):
    path = write(tmp_path, frame("energy=nan"))
    with pytest.raises(InputError, match="not one structure can be used; the first: .*energy is nan"):
        read_with_summary(path, rejected=[])


def test_a_frame_of_another_format_is_set_aside_too(tmp_path):
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write as ase_write

    images = []
    for energy in (-1.0, np.nan, -1.0):
        atoms = Atoms("Si2", [[0, 0, 0], [2.3, 0, 0]])
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.zeros((2, 3)))
        images.append(atoms)
    images.append(Atoms("Si", [[np.nan, 0, 0]], calculator=SinglePointCalculator(Atoms("Si"), energy=1.0)))
    path = tmp_path / "data.traj"
    ase_write(path, images)
    rejected: list[Rejected] = []
    frames, _ = read_with_summary(path, rejected=rejected)
    assert [f.source for f in frames] == [f"{path}, frame 0", f"{path}, frame 2"]
    assert [one.source for one in rejected] == [f"{path}, frame 1", f"{path}, frame 3"]
    assert rejected[0].text.startswith("2\n")
    assert "energy=nan" in rejected[0].text
    assert "nan" in rejected[1].text


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("overlapping atoms", {5}),
        ("a frame twice, two energies", {2, 12}),
        # Errors of the whole set, and what is no error, stay.
        ("forces are gradients", set()),
        ("atoms too near", set()),
        ("a frame twice", set()),
    ],
)
def test_what_the_doctor_calls_errors_by_themselves_is_left_out(name, places, tmp_path):
    frames = read(write(tmp_path, broken.ZOO[name].text()))
    kept, rejected = leave_out(frames)
    assert kept == [f for i, f in enumerate(frames) if i not in places]
    assert [one.source for one in rejected] == [frames[i].source for i in sorted(places)]
    assert all(frames[i].source in one.reason for i, one in zip(sorted(places), rejected, strict=True))
    if places:
        assert not any(f.level == "error" for f in check(kept))


def test_each_overlap_is_told_with_its_own_atoms():
    def pair(distance, source):
        structure = Structure([[0.0, 0, 0], [distance, 0, 0]], np.array([14, 14]), 9 * np.eye(3), True)
        return Frame(structure, Labels(-1.0), None, source)

    frames = [pair(2.3, "a"), pair(0.1, "b"), pair(2.4, "c"), pair(0.2, "d"), pair(2.5, "e")]
    kept, rejected = leave_out(frames)
    assert [f.source for f in kept] == ["a", "c", "e"]
    assert "0.100 Å, in b" in rejected[0].reason
    assert "0.200 Å, in d" in rejected[1].reason
    check_few(rejected, 5)
    with pytest.raises(InputError, match="2 of 3 structures would be left out.*mend it.*0.100 Å, in b"):
        check_few(rejected, 3)


def test_the_file_of_them_says_why_and_is_read_when_mended(tmp_path):
    path = write(tmp_path, GOOD + frame('energy=nan note="of my own"'))
    rejected: list[Rejected] = []
    read_with_summary(path, rejected=rejected)
    overlapping = read(write(tmp_path, frame(rows=("Si 0 0 0 1 0 0", "Si 0.1 0 0 -1 0 0")), "b.xyz"))
    rejected += leave_out(overlapping)[1]
    out = tmp_path / "rejected.xyz"
    write_rejected(out, rejected)
    text = out.read_text()
    assert 'note="of my own"' in text
    reasons = re.findall(r'rejected="([^"]*)"', text)
    assert reasons == [one.told for one in rejected]
    assert "data.xyz, frame 1 (line 5)" in reasons[0]
    assert "0.100 Å" in reasons[1]
    out.write_text(text.replace("energy=nan", "energy=-1.5"))
    one, other = read(out)
    assert one.labels.energy == -1.5
    np.testing.assert_array_equal(other.structure.positions, overlapping[0].structure.positions)
    np.testing.assert_array_equal(other.labels.forces, overlapping[0].labels.forces)


def test_only_a_file_of_its_own_kind_is_written_over(tmp_path):
    ours, other, empty = tmp_path / "rejected.xyz", write(tmp_path, GOOD), write(tmp_path, "", "empty.xyz")
    write_rejected(ours, [Rejected("a", "b", GOOD)])
    for path in (ours, empty, tmp_path / "new.xyz"):
        check_place(path)
    with pytest.raises(InputError, match="is there already"):
        check_place(other)
