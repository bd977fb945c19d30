"""Which structures are left out, how many, and that leaving out some at a time is leaving out all."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.gp.left_out import LeftOut, accuracy
from gpjaxpot.gp.noise import OBSERVABLES, Noise
from gpjaxpot.potential import held_out
from gpjaxpot.potential.held_out import (
    Kept,
    checked_size,
    choose,
    left_out_count,
    padded_rows,
    priors,
    searched_size,
)
from gpjaxpot.potential.left_out_structures import sparse_left_out_structures
from gpjaxpot.potential.levels import LEAST_FALL, by_crps, logs, quality
from gpjaxpot.potential.settings import TrainSettings
from gpjaxpot.potential.sparse_fit import NOWHERE, Assembled, choose_inducing, sparse_left_out
from gpjaxpot.potential.staged_set import StagedSet
from gpjaxpot.potential.training import Observations
from gpjaxpot.structures.batch import neighbourhood
from tests.potential.conftest import labelled, soap

LEVELS = {"variance": 1.3, "energy": 0.01, "forces": 0.05, "stress": 0.003}
INDUCING = 12


@pytest.fixture(scope="module")
def assembled():
    """A sparse model of structures of several sizes, and those that may be left out."""
    frames = _frames()
    kernel = gp.EnergyKernel((gp.Term(soap().with_species((14,)), gp.DotPower(2)),))
    data = [_observed(f) for f in frames]
    found = [neighbourhood(f.structure, kernel.species, kernel.reach) for f in frames]
    training, chosen = StagedSet(kernel, found, 1e9), choose(data, 900.0)
    inducing, owners = choose_inducing(training, INDUCING, "farthest", 0, _quiet)
    made = Assembled.make(training, data, inducing, owners, chosen, _quiet)
    return made, made.hold(priors(kernel, found, data, chosen, _quiet))


def _frames():
    return [*labelled(4), *labelled(3, n=3, seed=1), *labelled(2, n=2, seed=2), *labelled(2, n=1, seed=3)]


def _quiet(stage, done, total):
    pass


def _observed(frame):
    labels = frame.labels
    targets = np.concatenate([[labels.energy], labels.forces.reshape(-1), labels.stress])
    n = labels.forces.size
    kind = np.repeat([0, 1, 2], [1, n, 6])
    return Observations(np.arange(len(targets)), targets, np.ones(len(targets)), np.zeros(len(targets), bool), kind)


def test_more_are_left_out_where_they_are_small_and_there_is_time():
    large, middle, small = (left_out_count(rows, 900.0) for rows in (300.0, 200.0, 60.0))
    assert held_out.LEAST < large < middle < small == held_out.MOST
    assert middle * 200.0 <= held_out.MOST_ROWS
    assert left_out_count(1e5, 900.0) == left_out_count(200.0, 100.0) == held_out.LEAST
    assert held_out.LEAST < left_out_count(100.0, 150.0) < left_out_count(50.0, 150.0) < held_out.MOST


GIVEN = (
    "kernel.variance=1.0", "noise.energy=0.002", "noise.forces=0.02", "train.stress=false", "model.method=sparse",
    "model.n_inducing=6", "model.refine=false", "calibration.method=none",
)  # fmt: skip


@pytest.mark.parametrize(
    "open_",
    [
        "kernel.variance=auto", "noise.energy=auto", "noise.forces=auto", "train.stress=true", "model.n_inducing=auto",
        "model.refine=auto", "model.refine=true", "calibration.method=auto", "hyper.method=laplace",
    ],
)  # fmt: skip
def test_structures_are_left_out_for_whatever_is_open(open_):
    assert not held_out.leaves_out(gp.load_settings(None, list(GIVEN)))
    assert held_out.leaves_out(gp.load_settings(None, [*GIVEN, open_]))


def test_where_all_is_given_none_is_kept_to_be_left_out(monkeypatch):
    frames, kept = labelled(6), []
    make = Assembled.make

    def making(cls, training, data, inducing, owners, chosen, *rest):
        kept.append(len(chosen))
        return make(training, data, inducing, owners, chosen, *rest)

    monkeypatch.setattr(Assembled, "make", classmethod(making))
    one, other = (
        gp.fit(frames, soap(), gp.DotPower(2), settings=gp.load_settings(None, [*GIVEN, *more]))
        for more in ([], ["calibration.method=auto"])
    )
    assert kept == [0, len(frames)]
    np.testing.assert_array_equal(one.predict(frames[0]).forces, other.predict(frames[0]).forces)


def test_nothing_to_leave_out_is_no_part():
    nothing = Kept([], [], [], [])
    assert nothing.in_parts(5) == []
    assert nothing.join([]).kind.shape == (0, 0)
    assert nothing.held(np.eye(5)).rows.shape == (0, 0, 5)


def test_a_search_gives_up_inducing_environments_before_structures():
    """Of large ones there are fewer, but never too few."""
    assert searched_size(np.full(64, 60), 500) == (64, 500)
    assert searched_size(np.full(160, 60), 4000)[0] == 160
    silicon, some = searched_size(np.full(214, 199), 4000)
    assert some == held_out.LEAST_INDUCING
    assert 100 < silicon < 214
    large, some = searched_size(np.full(64, 800), 4000)
    assert (large, some) == (held_out.LEAST_SEARCHED, held_out.LEAST_INDUCING)
    # Few large ones among many small ones cost no more than they are.
    mixed = np.array([13] * 250)
    mixed[::50] = 385
    assert searched_size(mixed, 1000)[0] == 250


def test_rows_are_padded_to_the_largest_and_halves_of_it():
    np.testing.assert_array_equal(padded_rows(np.array([385, 193, 192, 97, 13, 7, 1])), [385, 193, 193, 97, 13, 13, 13])
    np.testing.assert_array_equal(padded_rows(np.array([5, 2])), [8, 8])
    assert len(padded_rows(np.array([], int))) == 0


def test_ratios_are_set_right_by_as_many_as_there_is_work_for():
    rows = np.full(214, 199)
    assert checked_size(rows, 500) == 214
    assert checked_size(rows, 4000) == held_out.LEAST
    assert held_out.LEAST < checked_size(rows, 2000) < 214


def test_leaving_out_some_at_a_time_is_leaving_out_all(assembled, monkeypatch):
    made, kept = assembled
    whole = sparse_left_out(logs(LEVELS), made.parts, kept.held(made.whitening), OBSERVABLES)
    monkeypatch.setattr(held_out, "BYTES_AT_ONCE", 8.0 * 2 * kept.most * made.whitening.shape[1])
    parts = kept.in_parts(made.whitening.shape[1])
    assert sorted(i for places, *_ in parts for i in places) == list(range(11))
    assert [(len(p.data), rows) for _, p, rows in parts] == [(2, 19)] * 4 + [(1, 19), (2, 10)]
    parts = made.left_out(LEVELS, kept)
    for name in ("error", "new_error", "epistemic", "unit", "kind"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-12)


def test_calibrations_see_the_errors_and_spreads_that_levels_are_learned_from(assembled):
    """With the factors on spreads, and none for structures whose inducing environments are all others'."""
    made, kept = assembled
    before = priors(made.training.kernel, made.training.found, made.data, np.array(list(made.kept)), _quiet)
    left, factors = made.left_out(LEVELS, kept), (0.5, 1.0, 3.0)
    noise = Noise(LEVELS["energy"], LEVELS["forces"], LEVELS["stress"], energy_exponent=0.0)
    known = sparse_left_out_structures(made, LEVELS, before, None, _frames(), noise, factors)
    for k, (own, i) in enumerate(zip(known, made.kept, strict=True)):
        rows = slice(0, len(made.data[i]))
        error, epistemic = (np.asarray(x)[k, rows] for x in (left.new_error, left.epistemic))
        sigma = np.array([LEVELS[name] for name in OBSERVABLES])[made.data[i].kind]
        std = np.sqrt(epistemic * np.array(factors)[made.data[i].kind] ** 2 + sigma**2)
        n = own.compared.n_atoms
        found = [[own.compared.energy_std * n], own.compared.forces_std.ravel(), own.compared.stress_std]
        found = np.concatenate(found)
        uncertain = found > 0  # others are certain by symmetry
        assert np.mean(uncertain) > 0.9 or n == 1
        np.testing.assert_allclose(found[uncertain], std[uncertain], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(own.compared.forces_error.ravel(), error[1 : 1 + 3 * n], rtol=1e-6, atol=1e-8)
    plain = made.left_out(LEVELS, replace(kept, own=[np.zeros(0, int)] * len(kept.own)))
    changed = np.any(np.abs(left.epistemic - plain.epistemic) > 1e-6 * plain.epistemic, axis=1)
    np.testing.assert_array_equal(changed, [len(o) > 0 for o in kept.own])
    assert 0 < np.sum(changed) < len(changed)


def test_a_search_leaves_all_out_of_a_model_with_some_inducing_environments(assembled, monkeypatch):
    """It is the model that these environments alone would make."""
    made, kept = assembled
    monkeypatch.setattr(held_out, "LEAST_INDUCING", 4)
    rows = kept.padded.astype(float)
    monkeypatch.setattr(held_out, "WORK_PER_SCORE", 1.01 * np.sum(rows * 4.0**2 + rows**2 * 4.0 + rows**3))
    chosen, some = kept.searched()
    assert len(chosen.data) == len(kept.data)
    assert len(some) == 4
    fewer = made.inducing.take(some)
    nowhere = np.full(len(some), NOWHERE)
    alone = Assembled.make(made.training, made.data, fewer, nowhere, np.array(list(made.kept)), _quiet)
    nothing = [np.zeros(0, int)] * len(kept.data)
    expected = alone.left_out(LEVELS, Kept(kept.data, list(alone.kept.values()), kept.variances, nothing))
    whitening, parts = made._fewer(some)
    found = sparse_left_out(logs(LEVELS), parts, chosen.held(whitening, some), OBSERVABLES)
    np.testing.assert_allclose(found.error, expected.error, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.epistemic, expected.epistemic, rtol=1e-6, atol=1e-9)


def test_levels_come_with_what_was_made_of_the_structures_left_out(assembled):
    made, kept = assembled
    names = tuple(LEVELS)
    levels = made.learn(TrainSettings(), LEVELS, names, cache(lambda: kept), _quiet)
    again = made.left_out(levels.values, kept)
    np.testing.assert_allclose(levels.left.error, again.error, rtol=1e-6, atol=1e-9)
    gain, spread = made.gain(levels, kept)
    assert np.isfinite(gain)
    assert spread > 0


def test_by_crps_follows_errors_where_spreads_fit_and_falls_where_they_do_not():
    """Normal errors of the predicted σ have a mean CRPS of σ/√π, 1/√2 of their mean size; too wide ones have more."""
    rng = np.random.default_rng(0)
    kind = np.tile(np.repeat([0, 1], [50, 150]), (200, 1))
    std = np.exp(rng.normal(size=kind.shape)) * np.where(kind == 0, 0.1, 1.0)
    error, unit = std * rng.normal(size=kind.shape), np.ones(kind.shape)
    fitting = LeftOut(error, error, std**2, unit, kind)
    assert by_crps(fitting) == pytest.approx(float(accuracy(fitting, len(OBSERVABLES))) + np.log(2.0), abs=0.02)
    # How wide those of energies are altogether can be set right; not so which are wide.
    wide = LeftOut(error, error, np.where(kind == 0, 9.0, 1.0) * std**2, unit, kind)
    assert by_crps(wide) == pytest.approx(by_crps(fitting), abs=0.02)
    wide = LeftOut(error, error, np.where(kind == 0, 1e-3 / std**2, std**2), unit, kind)
    assert by_crps(wide) < by_crps(fitting) - 0.05
    biased = replace(wide, error=error + np.where(kind == 0, 1.0, 0.0))
    for left in (wide, biased):  # which the spreads alone would hide
        assert quality(left) == pytest.approx(0.5 * (float(accuracy(left, len(OBSERVABLES))) + by_crps(left)))
    assert quality(wide) - quality(biased) > by_crps(wide) - by_crps(biased)
    assert by_crps(replace(fitting, error=np.full(kind.shape, np.nan))) == -np.inf


def test_ratios_found_by_a_part_are_set_right_by_the_whole(assembled, monkeypatch):
    """Of levels that a search has left far off, those are found that powers of two lead to."""
    made, kept = assembled
    monkeypatch.setattr("gpjaxpot.potential.levels._search", lambda *of: {})
    start = {"variance": 1.0, "energy": 0.08, "forces": 1.6, "stress": 0.4}

    def quality_at(levels):
        return quality(made.left_out(levels, kept))

    levels = made.learn(TrainSettings(), start, tuple(start), cache(lambda: kept), _quiet, dict(start))
    noise = {n: v / np.sqrt(levels.values["variance"]) for n, v in levels.values.items() if n != "variance"}
    found = {"variance": 1.0} | noise
    assert quality_at(found) > quality_at(start) + LEAST_FALL
    for name, value in noise.items():
        assert np.log2(value / start[name]) == pytest.approx(round(np.log2(value / start[name])))
        if name != "forces":
            for factor in (0.5, 2.0):
                assert quality_at(found | {name: factor * value}) < quality_at(found) + 3 * LEAST_FALL
