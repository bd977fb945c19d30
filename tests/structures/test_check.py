"""The data doctor: each fault gets its name, and healthy data none."""

import equinox as eqx
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT

from gpjaxpot.structures.check import check
from gpjaxpot.structures.distances import closest_pair, vacuum
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.outliers import robust_score
from gpjaxpot.structures.structure import Structure


def labelled(atoms, source, stress=True, group=None):
    """Return `atoms` with the labels of EMT."""
    atoms.calc = EMT()
    labels = Labels(
        atoms.get_potential_energy(),
        atoms.get_forces(),
        atoms.get_stress() if stress and atoms.pbc.all() else None,
    )
    return Frame(Structure.from_ase(atoms), labels, group, source)


@pytest.fixture
def healthy():
    frames = []
    for seed in range(12):
        atoms = bulk(["Cu", "Au", "Ni"][seed % 3], cubic=True)
        atoms.rattle(0.05, seed=seed)
        frames.append(labelled(atoms, f"a.xyz, frame {seed}"))
    return frames


def codes(frames, level=None):
    """Return the codes of all findings, of one level if given."""
    return {f.code for f in check(frames) if level in (None, f.level)}


def with_labels(frame, **labels):
    """Return the frame with other labels."""
    kept = {
        "energy": frame.labels.energy,
        "forces": frame.labels.forces,
        "stress": frame.labels.stress,
    }
    return Frame(frame.structure, Labels(**(kept | labels)), frame.group, "changed")


def test_healthy_data_give_no_finding(healthy):
    assert check(healthy) == []


def test_no_structures_is_an_error():
    assert codes([], "error") == {"empty"}


@pytest.mark.parametrize("where", ["energy", "forces", "stress"])
def test_values_not_finite_that_came_in_behind_our_back(healthy, where):
    value = np.full(np.shape(getattr(healthy[0].labels, where)), np.nan)
    bad = eqx.tree_at(lambda f: getattr(f.labels, where), healthy[0], value)
    finding = check([bad])[0]
    assert (finding.level, finding.code, finding.frames) == ("error", "not-finite", (0,))
    assert where in finding.message


@pytest.mark.parametrize(
    ("distance", "level", "code"),
    [(0.0, "error", "overlap"), (0.29, "error", "overlap"), (0.31, "warning", "close")],
)
def test_overlapping_atoms(healthy, distance, level, code):
    two = Structure([[0.0, 0, 0], [distance, 0, 0]], [29, 29], 10 * np.eye(3), True)
    findings = [
        f
        for f in check([*healthy, Frame(two, Labels(0.0), None, "b.xyz, frame 7")])
        if f.code == code
    ]
    assert len(findings) == 1
    assert findings[0].level == level
    assert findings[0].frames == (12,)
    assert "b.xyz, frame 7" in findings[0].message
    assert f"{distance:.3f} Å" in findings[0].message


def test_overlap_across_the_boundary_and_with_ones_own_image():
    cell = np.diag([5.0, 5, 5])
    across = Structure([[0.1, 0, 0], [4.9, 0, 0]], [6, 6], cell, True)
    assert closest_pair(across, 0.5).distance == pytest.approx(0.2)
    assert closest_pair(Structure(across.positions, [6, 6], cell, False), 0.5) is None
    own = Structure([[0.0, 0, 0]], [6], np.diag([0.2, 5, 5]), True)
    assert closest_pair(own, 0.5).distance == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["H2", "H2O", "CH4", "LiF", "Na2", "O3"])
def test_molecules_are_not_too_dense(name):
    assert closest_pair(Structure.from_ase(molecule(name)), 0.5) is None


def test_duplicates_with_equal_labels_are_a_warning_and_with_others_an_error(healthy):
    assert codes([*healthy, healthy[2]]) == {"duplicate"}
    shifted = with_labels(healthy[2], energy=healthy[2].labels.energy + 0.1)
    findings = check([*healthy, shifted])
    assert findings[0].code == "contradiction"
    assert findings[0].level == "error"
    assert findings[0].frames == (2, 12)
    assert "a.xyz, frame 2 and changed" in findings[0].message
    other = with_labels(healthy[2], forces=1.05 * healthy[2].labels.forces)
    assert "contradiction" in codes([*healthy, other], "error")


def test_a_duplicate_with_other_kinds_of_labels_does_not_contradict(healthy):
    energy_only = Frame(healthy[2].structure, Labels(healthy[2].labels.energy))
    forces_only = Frame(healthy[2].structure, Labels(forces=healthy[2].labels.forces))
    assert not codes([energy_only, forces_only], "error")


def test_a_moved_atom_is_no_duplicate(healthy):
    positions = healthy[2].structure.positions + [[1e-3, 0, 0]] + np.zeros((4, 3))
    moved = eqx.tree_at(lambda f: f.structure.positions, healthy[2], positions)
    assert "duplicate" not in codes([*healthy, moved])


def test_large_forces_stand_out(healthy):
    forces = healthy[0].labels.forces.copy()
    forces[0] += [200.0, 0, 0]
    forces[1] -= [200.0, 0, 0]
    found = {f.code: f for f in check([with_labels(healthy[0], forces=forces), *healthy[1:]])}
    assert found["force-outlier"].frames == (0,)
    assert "changed" in found["force-outlier"].message
    # A tenth of 200 eV/Å, to two digits.
    assert "force_sigma of a tenth of their largest force (20 eV/Å" in found["force-outlier"].remedy


def test_an_energy_of_another_zero_stands_out(healthy):
    wrong = with_labels(healthy[0], energy=healthy[0].labels.energy - 400.0)
    found = {f.code: f for f in check([wrong, *healthy[1:]])}
    assert 0 in found["energy-outlier"].frames


def test_score_is_not_moved_by_the_outlier_itself():
    values = np.append(np.random.default_rng(0).normal(size=999), 1e6)
    score = robust_score(values)
    assert score[-1] > 1e5
    # 999 normal numbers rarely go beyond 4 standard deviations; the MAD is right to some %.
    assert score[:-1].max() < 5


def test_net_force(healthy):
    pulled = with_labels(healthy[0], forces=healthy[0].labels.forces + [0.1, 0, 0])
    found = {f.code: f for f in check([pulled, *healthy[1:]])}
    assert found["net-force"].level == "warning"
    assert "0.40 eV/Å" in found["net-force"].message


def test_missing_labels_are_notes(healthy):
    bare = Frame(healthy[0].structure, Labels(healthy[0].labels.energy), None, "bare")
    assert codes([bare, *healthy[1:]]) == {"no-forces", "no-stress"}
    assert codes([bare, *healthy[1:]], "note") == {"no-forces", "no-stress"}
    none = [Frame(f.structure, Labels(f.labels.energy, f.labels.forces)) for f in healthy]
    finding = next(f for f in check(none) if f.code == "no-stress")
    assert "no structure has stress" in finding.message


def test_collinear_compositions_until_isolated_atoms_are_given():
    waters = []
    for seed in range(3):
        atoms = molecule("H2O")
        atoms.rattle(0.02, seed=seed)
        waters.append(labelled(atoms, f"w{seed}"))
    atoms = [Frame(Structure([[0.0, 0, 0]], [z]), Labels(-1.0), None, f"i{z}") for z in (1, 8)]
    assert codes(waters) == {"collinear"}
    assert codes(waters + atoms) == set()


def test_group_of_isolated_atoms_with_a_molecule():
    frame = labelled(molecule("H2"), "h2", group="IsolatedAtom")
    assert "not-isolated" in codes([frame], "warning")


def test_stress_of_a_slab_in_a_periodic_cell_is_a_note(healthy):
    slab = fcc111("Cu", (1, 1, 3), vacuum=8)
    slab.pbc = True
    slab.rattle(0.01, seed=1)
    assert vacuum(Structure.from_ase(slab)) == pytest.approx(16, abs=0.1)
    assert codes([*healthy, labelled(slab, "slab")]) == {"slab-stress"}
    assert codes([*healthy, labelled(slab, "slab", stress=False)]) == {"no-stress"}


def test_vacuum_is_seen_wherever_the_atoms_lie_and_however_the_cell_leans():
    slab = fcc111("Cu", (1, 1, 3), vacuum=8)
    slab.pbc = True
    width = vacuum(Structure.from_ase(slab))
    slab.positions += [0.3, 0.2, 11.0]
    slab.cell[2] += 2 * slab.cell[0] - slab.cell[1]
    assert vacuum(Structure.from_ase(slab)) == pytest.approx(width, abs=1e-9)


def test_a_finding_is_one_line(healthy):
    for finding in check([*healthy, healthy[0]]):
        text = str(finding)
        assert text.startswith("warning [duplicate] ")
        assert "\n" not in text
        assert text.endswith(finding.remedy)
