"""Small constants between groups are seen against what the forces tell, where the groups are alike."""

import dataclasses

import numpy as np
import pytest

from gpjaxpot.structures.force_fit import ForceFit
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.mixed import check_group_offsets
from gpjaxpot.structures.shapes import shape
from gpjaxpot.structures.structure import Structure
from tests.structures import trajectory

N = trajectory.N_FRAMES


def made(offset, scale=1.0, n=N, noise=0.0, grouped=True):
    """Return frames and a fit; every third is of another group or file, scaled, its energy raised by eV/atom."""
    generator = np.random.default_rng(0)
    frames = []
    for i, s in enumerate(trajectory.steps()[:n]):
        other = i % 3 == 2
        size = scale if other else 1.0
        atoms = s["atoms"]
        structure = Structure(size * atoms.positions, atoms.numbers, size * np.array(atoms.cell), True)
        energy = s["energy"] + len(atoms) * (offset * other + noise * generator.normal())
        name = "other" if other else "one"
        group, file = (name, "all.xyz") if grouped else ("MD", f"{name}.xyz")
        frames.append(Frame(structure, Labels(energy, s["forces"]), group, f"{file}, frame {i}"))
    energies = np.array([s["energy"] for s in trajectory.steps()[:n]])
    return frames, ForceFit(np.arange(n), 0.99, energies, np.zeros((n, 1)), np.full((n, 6), np.nan))


def found(frames, fit):
    return list(check_group_offsets(frames, [shape(f.structure) for f in frames], fit))


@pytest.mark.parametrize("offset", [0.01, -0.01])
@pytest.mark.parametrize("grouped", [True, False], ids=["groups", "files"])
def test_the_smaller_group_is_named(offset, grouped):
    frames, fit = made(offset, grouped=grouped, noise=1e-3)
    (finding,) = found(frames, fit)
    assert (finding.level, finding.code) == ("warning", "energy-offset")
    assert finding.frames == tuple(range(2, N, 3))
    # 13 structures whose energies scatter by 1 meV/atom: the median is good to 0.5.
    assert f"{'above' if offset > 0 else 'below'} what the forces" in finding.message
    size = float(finding.message.split(" lie ")[1].split(" meV/atom")[0])
    assert size == pytest.approx(10.0, abs=1.5)
    names = "group other (13) against group one (27)" if grouped else "other.xyz (13) against one.xyz (27)"
    assert names in finding.message


@pytest.mark.parametrize(
    "frames_and_fit",
    [
        made(0.002),
        made(0.01, noise=0.01),
        made(0.1, scale=1.1),
        made(0.1, n=12),
    ],
    ids=["small", "scattered", "not alike", "few"],
)
def test_nothing_is_said_of_less(frames_and_fit):
    assert found(*frames_and_fit) == []


def test_a_poor_model_says_nothing():
    frames, fit = made(0.1)
    assert found(frames, dataclasses.replace(fit, share=0.7)) == []
    assert len(found(frames, fit)) == 1
