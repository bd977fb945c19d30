"""Slopes come out right where predictions are uncertain in known directions, and with an honest width."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from gpjaxpot.structures.force_fit import MOST_ATOMS, fit_forces
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.slope import energy_slope
from gpjaxpot.structures.structure import Structure

N = 40


def draw(slope, seed, n=N, soft=3.0):
    """Return energies, predictions with one very uncertain direction, and its spread."""
    generator = np.random.default_rng(seed)
    actual = generator.normal(size=n)
    direction = generator.normal(size=(n, 1))
    predicted = slope * actual + soft * direction[:, 0] * generator.normal() + 0.1 * generator.normal(size=n)
    return actual, predicted, soft * direction


@pytest.mark.parametrize("slope", [1.0, -1.0, 0.0433])
def test_slope_in_spite_of_a_soft_direction(slope):
    """An uncertain direction, three times as large as the energies, does not disturb."""
    scores = []
    for seed in range(40):
        actual, predicted, spread = draw(slope, seed)
        found = energy_slope(actual, predicted, spread, [1] * N, ["a"] * N)
        scores.append((found.value - slope) / found.std)
        # The soft direction costs one of 40 differences, whose errors are 0.1: 5 σ of the slope. If it
        # were taken for noise like any other, the slope would be off by 0.5.
        assert found.value == pytest.approx(slope, abs=5 * 0.1 / np.sqrt(N - 1))
    # z scores of 40 draws: their mean square is 1 to within 4·√(2/40).
    assert np.mean(np.square(scores)) == pytest.approx(1.0, abs=0.9)


def test_what_the_spread_leaves_open_is_a_share_of_the_differences():
    actual, predicted, spread = draw(1.0, 0)
    found = energy_slope(actual, predicted, spread, [1] * N, ["a"] * N)
    centred = [values - values.mean(axis=0) for values in (predicted, spread)]
    assert found.open == pytest.approx(np.linalg.norm(centred[1]) / np.linalg.norm(centred[0]))


def test_constants_of_groups_and_sizes_are_left_free():
    actual, predicted, spread = draw(1.0, 1)
    sizes = np.arange(N) % 7 + 1
    groups = ["a" if i % 2 else "b" for i in range(N)]
    shift = np.where(np.arange(N) % 2, 7.0, -300.0) * sizes
    one = energy_slope(actual, predicted, spread, sizes.tolist(), groups)
    other = energy_slope(actual + shift, predicted, spread, sizes.tolist(), groups)
    assert other.value == pytest.approx(one.value, rel=1e-6)
    assert other.n == N - 2


def test_groups_of_one_structure_tell_nothing():
    actual, predicted, spread = draw(1.0, 1, n=5)
    assert energy_slope(actual, predicted, spread, [1] * 5, list("abcde")) is None


def copper(n_frames, repeat=1, amplitude=0.1):
    frames = []
    for seed in range(n_frames):
        atoms = bulk("Cu", cubic=True) * repeat
        atoms.rattle(amplitude, seed=seed)
        atoms.calc = EMT()
        labels = Labels(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
        frames.append(Frame(Structure.from_ase(atoms), labels, None, f"cu {seed}"))
    return frames


def test_forces_of_emt_tell_its_energies_and_stresses():
    frames = copper(20)
    fit = fit_forces(frames)
    assert fit.share > 0.99
    energies = np.array([f.labels.energy for f in frames])
    told = fit.energies - fit.energies.mean()
    # A model of 46 coefficients on 240 forces: 5 % of the energy differences are left.
    assert np.std(told - (energies - energies.mean())) < 0.05 * np.std(energies)
    shears = np.array([f.labels.stress[3:] for f in frames])
    assert np.corrcoef(shears.ravel(), fit.stresses[:, 3:].ravel())[0, 1] > 0.95


def test_large_sets_are_thinned_evenly_and_alike_each_time():
    frames = copper(4, repeat=2) * 100
    fit = fit_forces(frames)
    assert sum(len(frames[i].structure) for i in fit.frames) <= 1.05 * MOST_ATOMS
    assert fit.frames[0] == 0
    assert fit.frames[-1] == len(frames) - 1
    np.testing.assert_array_equal(fit.frames, fit_forces(frames).frames)


def test_without_forces_or_neighbours_there_is_no_fit():
    frames = copper(3)
    assert fit_forces([Frame(f.structure, Labels(f.labels.energy)) for f in frames]) is None
    assert fit_forces([]) is None
    far = [Frame(Structure([[0.0, 0, 0], [9.0, 0, 0]], [29, 29]), Labels(0.1, np.zeros((2, 3))))] * 3
    assert fit_forces(far) is None
    still = [Frame(f.structure, Labels(forces=np.zeros((4, 3)))) for f in frames]
    assert fit_forces(still) is None
