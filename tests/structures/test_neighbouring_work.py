"""Works of forces are energy differences as exactly as they say, and energies that are none are found out."""

import dataclasses

import numpy as np
import pytest

from gpjaxpot import units
from gpjaxpot.structures.check import check
from gpjaxpot.structures.force_fit import ForceFit
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.neighbouring_work import FEWEST, RANKS, neighbouring_works, trusted_slope, unrelated
from gpjaxpot.structures.residual_check import check_related, check_residuals
from gpjaxpot.structures.slope import Slope
from gpjaxpot.structures.structure import Structure
from gpjaxpot.structures.units_check import check_units
from tests.structures import trajectory

CELL = np.array([[6.0, 0, 0], [0, 7.0, 0], [2.0, 1.0, 8.0]])


def steps(energy=lambda s: s["energy"], forces=lambda s: s["forces"], moved=lambda s, i: s["atoms"].positions):
    """Return the frames of the trajectory, changed as asked."""
    return [
        Frame(
            Structure(moved(s, i), s["atoms"].numbers, np.array(s["atoms"].cell), True),
            Labels(energy(s), forces(s)),
            None,
            f"step {i}",
        )
        for i, s in enumerate(trajectory.steps())
    ]


def springs(cubic=0.0, n=30, seed=0, cell=CELL):
    """Return atoms on springs about their places in a skewed cell, in any image; the energy may have a cubic term."""
    generator = np.random.default_rng(seed)
    sites = generator.uniform(size=(3, 3)) @ CELL
    frames = []
    for i in range(n):
        u = generator.uniform(-0.1, 0.1, size=(3, 3))
        u -= u.mean(axis=0)
        r = sites + u + generator.integers(-2, 3, size=(3, 3)) @ CELL + generator.uniform(size=3)
        forces = -4.0 * u - 3 * cubic * u**2
        forces -= forces.mean(axis=0)
        energy = 2.0 * np.sum(u**2) + cubic * np.sum(u**3)
        frames.append(Frame(Structure(r, np.array([3, 11, 3]), cell, True), Labels(energy, forces), None, f"s{i}"))
    return frames


def unsure_fit(frames):
    """Return a quick model that explains too little of the forces to say anything."""
    n = len(frames)
    generator = np.random.default_rng(0)
    return ForceFit(np.arange(n), 0.3, generator.normal(size=n), np.ones((n, 1)), np.full((n, 6), np.nan))


def test_works_of_springs_are_their_energies_wherever_atoms_and_images_are():
    """The trapezoidal rule is exact for a linear force: any image, any common displacement."""
    found = neighbouring_works(springs())
    assert [part.rank for part in found] == list(RANKS)
    for part in found:
        assert len(part.works) >= FEWEST
        # Energies are some 0.1 eV; sums of products of coordinates up to 40 Å leave 1e-14 of them.
        np.testing.assert_allclose(part.works, part.changes, atol=1e-12)
        np.testing.assert_allclose(part.gaps, 0.0, atol=1e-12)


def test_gaps_around_triangles_tell_the_error_of_works():
    for cubic in (0.5, 5.0):
        for part in neighbouring_works(springs(cubic)):
            error = np.median(np.abs(part.works - part.changes))
            gap = np.median(np.abs(part.gaps))
            assert 0.1 < error / gap < 2.0


@pytest.mark.parametrize(
    "frames",
    [
        springs(n=FEWEST - 1),
        [Frame(f.structure, Labels(f.labels.energy)) for f in springs()],
        [Frame(f.structure, Labels(forces=f.labels.forces)) for f in springs()],
        [f for k in range(30) for f in springs(n=1, seed=k)],
        [f for k in range(30) for f in springs(n=1, cell=CELL * (1 + 0.01 * k))],
    ],
    ids=["few", "no forces", "no energies", "far apart", "variable cell"],
)
def test_no_works_without_enough_like_neighbours(frames):
    assert neighbouring_works(frames) == []


def test_a_healthy_trajectory_raises_no_alarm():
    assert [f for f in check(steps()) if f.level != "note"] == []


def wrapped(s, i):
    atoms = s["atoms"].copy()
    atoms.positions += 0.3 * i
    atoms.wrap()
    return atoms.positions


@pytest.mark.parametrize("moved", [lambda s, i: s["atoms"].positions, wrapped], ids=["as it is", "wrapped, drifting"])
def test_smeared_energies_are_told_and_shuffling_hides_nothing(moved):
    frames = steps(lambda s: s["energy"] + s["smearing"], moved=moved)
    frames = [frames[i] for i in np.random.default_rng(0).permutation(len(frames))]
    (finding,) = check_residuals(frames, neighbouring_works(frames))
    assert (finding.level, finding.code) == ("warning", "energy-residual")
    assert finding.frames == tuple(range(len(frames)))
    assert "free energy" in finding.remedy
    assert list(check_residuals(steps(moved=moved), neighbouring_works(steps(moved=moved)))) == []


def test_a_residual_below_what_the_gaps_leave_is_no_alarm():
    frames = steps(lambda s: s["energy"] + 0.005 * s["smearing"])
    assert list(check_residuals(frames, neighbouring_works(frames))) == []


def test_noise_of_forces_alone_is_no_alarm():
    """It makes gaps around triangles, too."""
    generator = np.random.default_rng(1)
    frames = steps(forces=lambda s: s["forces"] + generator.normal(scale=0.1, size=s["forces"].shape))
    assert list(check_residuals(frames, neighbouring_works(frames))) == []


def test_a_jump_to_another_state_does_not_condemn_all():
    frames = steps()
    for i in (7, 23):
        s = frames[i]
        frames[i] = Frame(s.structure, Labels(s.labels.energy + 2.0, s.labels.forces), None, s.source)
    assert list(check_residuals(frames, neighbouring_works(frames))) == []


def test_the_slope_along_a_trajectory():
    part = neighbouring_works(steps())[0]
    slope = trusted_slope(part)
    # 5 fs apart the trapezoidal rule is good to some percent.
    assert slope.value == pytest.approx(1.0, abs=0.03)
    flat = dataclasses.replace(part, changes=np.random.default_rng(0).normal(size=len(part.works)))
    assert trusted_slope(flat) is None
    assert unrelated([flat])
    assert not unrelated([part])
    assert not unrelated([])


@pytest.mark.parametrize(
    ("factor", "code", "words"),
    [
        (-1.0, "force-sign", "multiply the forces by -1"),
        (1 / units.EV_TO_KCAL_PER_MOL, "force-energy-units", "energies in kcal/mol"),
        (units.EV_TO_HARTREE, "force-energy-units", "forces in hartree/Å"),
        (16.0, "force-energy-units", "energies per atom, of 16 atoms each"),
    ],
)
def test_neighbours_tell_sign_and_unit_where_the_quick_model_cannot(factor, code, words):
    frames = steps(forces=lambda s: factor * s["forces"])
    fit = unsure_fit(frames)
    assert list(check_units(frames, fit)) == []
    (finding,) = check_units(frames, fit, neighbouring_works(frames))
    assert (finding.level, finding.code) == ("error", code)
    assert words in f"{finding.message} {finding.remedy}"
    assert finding.frames == tuple(range(len(frames)))
    assert list(check_units(steps(), fit, neighbouring_works(steps()))) == []


def test_energies_that_follow_no_work_have_no_wrong_unit():
    """A conserved total energy drifts a little with the potential energy, which looks like a unit."""
    frames = steps(lambda s: s["energy"] + s["kinetic"])
    assert {f.code for f in check(frames) if f.level != "note"} == {"energy-residual"}


@pytest.mark.parametrize(
    ("share", "slope", "told"),
    [
        (0.97, Slope(0.1, 0.5, 0.1, 30, 0.1), True),
        (0.97, Slope(0.1, 0.5, -0.3, 30, 0.1), True),
        (0.97, Slope(1.0, 0.1, 0.86, 30, 0.1), False),
        (0.6, Slope(0.1, 0.5, 0.1, 30, 0.1), False),
        (0.97, Slope(0.1, 0.5, 0.1, 10, 0.1), False),
        (0.97, Slope(0.1, 0.5, 0.1, 30, 0.9), False),
        (0.97, None, False),
    ],
)
def test_energies_are_called_unrelated_only_by_a_good_model_of_many(share, slope, told):
    frames = steps()
    fit = dataclasses.replace(unsure_fit(frames), share=share)
    found = list(check_related(frames, fit, slope))
    assert [f.code for f in found] == ["energy-unrelated"] * told
