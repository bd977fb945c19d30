"""The refined mean is that of the exact posterior; what is left out of it is predicted as by a fit without."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.gp.conjugate_gradients import Solution
from gpjaxpot.gp.left_out import LeftOut
from gpjaxpot.linalg.tiled_cholesky import TiledCholesky
from gpjaxpot.potential import direct_system, refined_levels, refinement
from gpjaxpot.potential.direct_system import DirectSystem
from gpjaxpot.potential.iterative_system import IterativeSystem
from gpjaxpot.potential.refined_levels import Trial
from gpjaxpot.potential.refinement_plan import Refining
from tests.potential.conftest import labelled, settings, soap

FEW = ("model.method=sparse", "model.n_inducing=6", "model.refine=true", "model.solver=iterations")
GIVEN = {"kernel.variance": 1.0, "noise.energy": 0.002, "noise.forces": 0.02, "noise.stress": 0.001}


@pytest.fixture(scope="module")
def fine():
    """Residuals so small that what is left are rounding errors."""
    patch = pytest.MonkeyPatch()
    patch.setattr(refinement, "FINE", 1e-7)
    patch.setattr(refined_levels, "ROUGH", 1e-7)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def refined(frames, fine):
    """Six inducing environments of 24, at given levels."""
    return gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings(*FEW))


def same_mean(a, b, frame, tolerance):
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(
            getattr(a.predict(frame), name), getattr(b.predict(frame), name), atol=tolerance, err_msg=name
        )


def test_mean_is_that_of_the_exact_posterior(refined, exact, frames):
    same_mean(refined, exact, frames[7], 1e-7)
    plain = gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings(*FEW[:2], "model.refine=false"))
    apart = np.abs(plain.predict(frames[7]).forces - exact.predict(frames[7]).forces).max()
    assert apart > 1e-3  # of six environments alone it is another one


def test_spreads_are_those_of_the_sparse_posterior(refined, frames):
    plain = gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings(*FEW[:2], "model.refine=false"))
    a, b = (p.predict(frames[7], uncertainty=True) for p in (refined, plain))
    for name in ("energy_std", "forces_std", "stress_std"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-9)


def test_forces_are_the_derivative_of_the_energy(refined, frames):
    s, h = frames[7].structure, 1e-4
    forces = refined.predict(frames[7]).forces
    for atom, x in ((0, 0), (3, 2)):
        step = np.zeros_like(s.positions)
        step[atom, x] = h
        moved = [gp.Structure(s.positions + sign * step, s.numbers, s.cell, s.pbc) for sign in (1, -1)]
        ahead, behind = (refined.predict(m).energy for m in moved)
        assert forces[atom, x] == pytest.approx(-(ahead - behind) / (2 * h), abs=2e-6)


def test_a_model_file_keeps_the_mean_and_says_that_it_is_new(refined, frames, tmp_path):
    from safetensors import safe_open

    path, refined = tmp_path / "model.safetensors", replace(refined, repulsion=None)
    refined.save(path)
    with safe_open(path, framework="np") as stored:
        assert json.loads(stored.metadata()["gpjaxpot"])["format"] == 3
    again = gp.Potential.load(path)
    a, b = (p.predict(frames[7], uncertainty=True) for p in (refined, again))
    for name in ("energy", "forces", "stress", "energy_std", "forces_std"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_a_factor_makes_the_same_mean(exact, frames):
    """Of observations in another order, since those that may be left out come last."""
    wanted = (*FEW[:3], "model.solver=factor", "model.evidence=true")
    refined = gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings(*wanted))
    same_mean(refined, exact, frames[7], 1e-9)
    chosen = {c["key"]: c for c in refined.record["choices"]}
    assert chosen["model.solver"]["value"] == "factor"
    assert chosen["model.evidence"]["reason"] == "of the exact posterior, by its factor"
    assert refined.record["log_marginal_likelihood"] == pytest.approx(exact.log_marginal_likelihood, abs=1e-6)


def test_a_factor_may_be_of_some_structures(frames):
    """Every second of eight, by binary digits reversed: 0, 4, 2, 6."""
    energy = "energy_per_species.Si=-0.4"
    wanted = (*FEW[:3], "model.solver=factor", "model.most_refined=4", energy)
    refined = gp.fit(frames, soap(), gp.DotPower(2), settings=settings(*wanted))
    those = gp.fit(frames[::2], soap(), gp.DotPower(2), settings=settings("model.method=exact", energy))
    same_mean(refined, those, frames[7], 1e-9)
    assert len(refined.centres.species) == 16
    chosen = {c["key"]: c for c in refined.record["choices"]}["model.most_refined"]
    assert chosen["value"] == 4
    assert chosen["reason"].startswith("of 8")


def test_draws_scatter_around_the_refined_mean(refined, frames, tmp_path):
    keys = jax.random.split(jax.random.key(0), 40)
    drawn = np.stack([refined.sample(k).predict(frames[7]).forces for k in keys])
    p = refined.predict(frames[7], uncertainty=True)
    error = np.std(drawn, axis=0) / np.sqrt(len(keys))
    assert np.all(np.abs(drawn.mean(0) - p.forces) < 5 * error + 1e-9)
    assert np.all(np.std(drawn, axis=0) < 2.0 * p.forces_epistemic_std + 1e-9)
    one = refined.sample(keys[0])
    one.save(tmp_path / "draw.safetensors")
    again = gp.Potential.load(tmp_path / "draw.safetensors")
    np.testing.assert_array_equal(again.predict(frames[7]).forces, one.predict(frames[7]).forces)


@pytest.fixture(scope="module")
def many():
    """Enough structures that ten may be left out."""
    return labelled(42, seed=3)


def test_what_is_left_out_is_predicted_as_by_a_fit_without_it(many, fine, monkeypatch):
    """The errors that levels are judged by are those of exact fits to the other structures."""
    seen = {}
    plain = Trial.by_iterations

    def judge(trial, system, *rest):
        start, places = trial.start, trial.places
        solution = system.solve(start, 1e-7, 200, lambda *a: None, without=places)
        shape = len(places), max(len(o) for o in trial.assembled.data)
        errors = system.errors(start, places, solution.values, shape)
        seen.update(places=places, errors=errors, start=start, sparse=system.sparse_errors(start, places, shape))
        seen.update(whitened=system.rows, sigma=system.sigma(start), targets=system.targets, own=system.own)
        return plain(trial, system, *rest)

    monkeypatch.setattr(Trial, "by_iterations", judge)
    wanted = ("model.method=sparse", "model.n_inducing=20", *FEW[2:], "train.search=false")
    potential = gp.fit(many, soap(), gp.DotPower(2), settings=gp.load_settings(None, [*wanted]))
    assert len(seen["places"]) == 10
    others = [f for i, f in enumerate(many) if i not in seen["places"]]
    levels = [f"{'kernel.' if n == 'variance' else 'noise.'}{n}={v}" for n, v in seen["start"].items()]
    # The energy per species is that of all structures, left out or not.
    (energy,) = potential.record["reference"]["values"]
    given = gp.load_settings(None, ["model.method=exact", f"energy_per_species.Si={energy}", *levels])
    without = gp.fit(others, soap(), gp.DotPower(2), settings=given)
    for errors, i in zip(seen["errors"], seen["places"], strict=True):
        p, labels = without.predict(many[i]), many[i].labels
        expected = np.concatenate(
            [[labels.energy - p.energy], (labels.forces - p.forces).ravel(), labels.stress - p.stress]
        )
        np.testing.assert_allclose(errors[: len(expected)], expected, atol=2e-6)
    # The sparse mean without them, by the textbook formula in the weights of whitened inducing variables.
    own = [np.arange(len(seen["targets"]))[seen["own"][i]] for i in seen["places"]]
    rest = np.setdiff1d(np.arange(len(seen["targets"])), np.concatenate(own))
    phi = seen["whitened"] * np.sqrt(seen["start"]["variance"])
    scaled, y = phi[rest] / seen["sigma"][rest, None], seen["targets"][rest] / seen["sigma"][rest]
    weights = np.linalg.solve(np.eye(phi.shape[1]) + scaled.T @ scaled, scaled.T @ y)
    for errors, places in zip(seen["sparse"], own, strict=True):
        np.testing.assert_allclose(errors[: len(places)], seen["targets"][places] - phi[places] @ weights, atol=1e-8)


def test_by_a_factor_each_is_predicted_as_by_a_fit_without_it_alone(many, monkeypatch):
    seen, plain = {}, Trial.by_factor

    def judge(trial, system, *rest):
        shape = len(trial.places), max(len(o) for o in trial.assembled.data)
        errors = system.errors(trial.start, shape, lambda *a: None)
        seen.update(places=trial.places, errors=errors, start=trial.start)
        return plain(trial, system, *rest)

    monkeypatch.setattr(Trial, "by_factor", judge)
    wanted = ("model.method=sparse", "model.n_inducing=20", "model.refine=true", "model.solver=factor")
    some = gp.load_settings(None, [*wanted, "train.search=false"])
    potential = gp.fit(many, soap(), gp.DotPower(2), settings=some)
    assert len(seen["places"]) == 21  # half of the observations
    levels = [f"{'kernel.' if n == 'variance' else 'noise.'}{n}={v}" for n, v in seen["start"].items()]
    (energy,) = potential.record["reference"]["values"]
    given = gp.load_settings(None, ["model.method=exact", f"energy_per_species.Si={energy}", *levels])
    for k in (0, 9):
        i = seen["places"][k]
        without = gp.fit([f for j, f in enumerate(many) if j != i], soap(), gp.DotPower(2), settings=given)
        p, labels = without.predict(many[i]), many[i].labels
        expected = np.concatenate(
            [[labels.energy - p.energy], (labels.forces - p.forces).ravel(), labels.stress - p.stress]
        )
        np.testing.assert_allclose(seen["errors"][k][: len(expected)], expected, rtol=1e-6, atol=1e-8)


@pytest.fixture(scope="module")
def learnable(many, exact):
    """Labels that a kernel can learn, since a posterior of that kernel made them, with some noise."""
    rng, made = np.random.default_rng(0), []
    for frame in many:
        p = exact.predict(frame)
        labels = gp.Labels(
            p.energy + rng.normal(scale=0.002),
            p.forces + rng.normal(scale=0.01, size=p.forces.shape),
            p.stress + rng.normal(scale=2e-4, size=6),
        )
        made.append(gp.Frame(frame.structure, labels, source=frame.source))
    return made


def test_it_is_taken_where_it_predicts_better_and_only_there(learnable):
    base = ("model.method=sparse", "train.search=false")
    few = gp.load_settings(None, [*base, "model.n_inducing=4"])
    poor = gp.fit(learnable, soap(), gp.DotPower(2), settings=few)
    chosen = {c["key"]: c for c in poor.record["choices"]}["model.refine"]
    assert chosen["value"] is True
    assert "left out fall by" in chosen["reason"]
    assert poor.record["settings"]["model"]["refine"] is True
    # As many inducing environments as the features have dimensions: nothing is left to refine.
    all_ = gp.load_settings(None, [*base, "model.n_inducing=168"])
    full = gp.fit(learnable, soap(), gp.DotPower(2), settings=all_)
    chosen = {c["key"]: c for c in full.record["choices"]}["model.refine"]
    assert chosen["value"] is False
    assert "left out" in chosen["reason"]


def test_asked_for_it_is_made_though_no_comparison_converges(many, monkeypatch):
    monkeypatch.setattr(refined_levels, "COMPARED", 1)
    monkeypatch.setattr(refined_levels, "LONGEST", 1)
    monkeypatch.setattr(refinement, "LONGEST", 1)
    wanted = ("model.method=sparse", "model.n_inducing=4", *FEW[2:], "train.search=false")
    sharp = soap(n_max=5, l_max=4, sigma=0.35)
    potential = gp.fit(many, sharp, gp.DotPower(4), settings=gp.load_settings(None, [*wanted]))
    assert potential.model.refined is not None
    chosen = {c["key"]: c for c in potential.record["choices"]}["model.refine"]
    assert ", by 1 iterations that left" in chosen["reason"]  # at the noise that was quadrupled twice


def test_resolved_settings_repeat_the_fit_bit_for_bit(learnable):
    """With the levels given there is nothing to judge by: the choice to refine is repeated as it was made."""
    few = gp.load_settings(None, ["model.method=sparse", "model.n_inducing=4"])
    first = gp.fit(learnable, soap(), gp.DotPower(2), settings=few)
    assert first.record["settings"]["model"]["refine"] is True
    resolved = gp.Settings.model_validate(first.record["settings"])
    second = gp.fit(learnable, soap(), gp.DotPower(2), settings=resolved)
    a, b = (p.predict(learnable[0], uncertainty=True) for p in (first, second))
    for name in ("energy", "forces", "energy_std", "forces_std"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def noises_tried(many, monkeypatch, products, solution_of, error_of=lambda tried: tried[-1]):
    """Force noises that are tried one after the other, and what is said of the choice.

    `solution_of(noises so far)` stands for what solves, `error_of(noises so far)` for the errors; those of the sparse
    mean are twice its noise.
    """
    tried = []

    class Pretended(IterativeSystem):
        kind, covariance = None, None

        def __init__(self):
            pass

        def solve(self, levels, tolerance, most, callback, without, start):
            tried.append(levels["forces"])
            return solution_of(tried)

        def errors(self, levels, places, values, shape):
            return np.full(shape, error_of(tried))

        def sparse_errors(self, levels, places, shape):
            return np.full(shape, 2.0 * levels["forces"])

    plain = Trial.by_iterations

    def judge(trial, system, _, callback):
        return plain(trial, Pretended(), products, callback)

    monkeypatch.setattr(Trial, "by_iterations", judge)
    monkeypatch.setattr(IterativeSystem, "solve", lambda self, *a: Solution(np.zeros(798), 1, 0.0, True))
    wanted = ("model.method=sparse", "model.n_inducing=4", "model.solver=iterations", "train.search=false")
    potential = gp.fit(many, soap(), gp.DotPower(2), settings=gp.load_settings(None, [*wanted]))
    return np.array(tried), {c["key"]: c for c in potential.record["choices"]}["model.refine"]


@pytest.mark.parametrize(
    ("products", "first", "factors"),
    [
        (0, 10, [4.0]),
        (280, 70, [4.0]),
        (280, 40, [4.0, 2.0]),
        (280, 20, [4.0, 1.0]),
        (10**6, 10, [4.0, 1.0, 0.5, 0.25, 0.125]),
        (10**6, 60, [4.0, 1.0, 0.5]),  # the next would take more iterations than any may
    ],
)
def test_noise_is_lowered_while_there_is_time(many, monkeypatch, products, first, factors):
    """Less noise is made to look good; what stops it is the number of products."""

    def converges(tried):
        return Solution(np.zeros(1), round(first * tried[0] / tried[-1]), 0.0, True)

    tried, _ = noises_tried(many, monkeypatch, products, converges)
    np.testing.assert_allclose(tried / tried[0], np.array(factors) / factors[0])


def test_less_noise_that_predicts_worse_is_not_taken(many, monkeypatch):
    def converges(tried):
        return Solution(np.zeros(1), 10, 0.0, True)

    def error_of(tried):
        return [1.0, 4.0][len(tried) - 1] * tried[0] / refined_levels.FIRST

    tried, choice = noises_tried(many, monkeypatch, 10**6, converges, error_of)
    np.testing.assert_allclose(tried / tried[0], [1.0, 1.0 / refined_levels.FIRST])
    assert "fall by 50 %" in choice["reason"]


def test_noise_is_raised_where_the_first_solution_does_not_converge(many, monkeypatch):
    def converges_at_twice(tried):
        return Solution(np.zeros(1), 10, 0.0, tried[-1] > 1.5 * tried[0])

    tried, _ = noises_tried(many, monkeypatch, 10**6, converges_at_twice, lambda tried: tried[0] / len(tried))
    np.testing.assert_allclose(tried / tried[0], [1.0, 4.0, 2.0])  # and back, but not to where it did not


@pytest.mark.parametrize(
    ("more", "factors", "errors", "shares"),
    [
        # For a mean of more structures it may be less as long as that does not raise the errors.
        (True, 9, {0.25: 1, 0.0625: 0.999, 0.015625: 0.998, 2**-8: 2}, [0.25, 0.0625, 0.015625, 2**-8]),
        (False, 9, {0.25: 1, 0.0625: 0.999, 1.0: 2}, [0.25, 0.0625, 1.0]),
        (False, 1, {0.25: 3}, [0.25]),
        (False, 9, {0.25: 3, 0.0625: 2, 0.015625: 1, 2**-8: 1}, [0.25, 0.0625, 0.015625, 2**-8]),
        (False, 9, {0.25: 1, 0.0625: 2, 1.0: 2}, [0.25, 0.0625, 1.0]),  # less is not better, and more neither
        (False, 9, {0.25: 1, 0.0625: 2, 1.0: 0.9, 4.0: 0.895}, [0.25, 0.0625, 1.0, 4.0]),
        (False, 9, {0.25: 3, 0.0625: 4, 1.0: 2, 4.0: 5}, [0.25, 0.0625, 1.0, 4.0]),
        (False, 9, {0.25: None, 1.0: 2, 4.0: 1, 16.0: 3}, [0.25, 1.0, 4.0, 16.0]),  # so little that there is no factor
        (False, 2, {0.25: 3, 0.0625: None, 1.0: 2}, [0.25, 0.0625]),
    ],
)
def test_by_factors_noise_is_sought_that_predicts_best(many, monkeypatch, more, factors, errors, shares):
    tried, plain, start = [], Trial.noise, {}

    def pretended(self, levels, shape, callback):
        share = levels["forces"] / start["forces"]
        tried.append(share)
        error = errors[round(share, 9)]
        if error is None:
            raise gp.InputError("not positive definite")
        return np.full(shape, error * 1e-3)

    def judge(trial, system, _, callback):
        start.update(trial.start)
        found = plain(trial, system, factors, callback, more)
        monkeypatch.setattr(DirectSystem, "errors", real)
        return found

    real = DirectSystem.errors
    monkeypatch.setattr(DirectSystem, "errors", pretended)
    monkeypatch.setattr(Trial, "noise", judge)
    wanted = ("model.method=sparse", "model.n_inducing=4", "model.refine=true", "train.search=false")
    potential = gp.fit(many, soap(), gp.DotPower(2), settings=gp.load_settings(None, [*wanted]))
    np.testing.assert_allclose(tried, shares)
    best = min((share for share in shares if errors[share]), key=lambda share: errors[share])
    best = 0.25 if errors.get(0.0625) == 0.999 and not more else best  # as little again
    best = 1.0 if best == 4.0 and errors[4.0] > 0.98 * errors[1.0] else best  # too little to go so far for
    levels = {c["key"]: c["value"] for c in potential.record["choices"]}
    ratio = levels["noise.forces"] ** 2 / levels["kernel.variance"]
    assert ratio == pytest.approx((best * start["forces"]) ** 2 / start["variance"], rel=1e-9)


@pytest.mark.parametrize("isolated", [False, True])
def test_noise_for_one_factor_is_chosen_with_fewer_structures(many, monkeypatch, isolated):
    """A covariance of fewer is kept for one noise after the other, that of all makes way for its factor.

    Once errors are known all levels are multiplied by one number, but the σ of isolated atoms: no need of another.
    """
    made, plan, filled = [], Refining.plan, []
    if isolated:
        alone = gp.Structure(np.zeros((1, 3)), np.array([14]))
        many = [*many[:20], gp.Frame(alone, gp.Labels(-1.0)), *many[20:]]

    def planned(self, m):
        found = plan(self, m)
        return replace(found, effort=replace(found.effort, factors=1, judged=14))

    def making(cls, assembled, some, last, callback, keep=True):
        made.append((len(some), list(last), keep))
        return make(assembled, some, last, callback, keep)

    def filling(*given):
        filled.append(1)
        return fill(*given)

    make, fill = DirectSystem.make, direct_system.covariance
    monkeypatch.setattr(direct_system, "covariance", filling)
    monkeypatch.setattr(DirectSystem, "make", classmethod(making))
    wanted = ("model.method=sparse", "model.n_inducing=4", "model.refine=true", "train.search=false")
    wanted = [*wanted, "model.solver=factor"]
    plain = gp.fit(many, soap(), gp.DotPower(2), settings=gp.load_settings(None, wanted))
    (of_all,) = made
    assert of_all[0] == len(many) > 14
    assert of_all[2] is True
    monkeypatch.setattr(Refining, "plan", planned)
    once = gp.fit(many, soap(), gp.DotPower(2), settings=gp.load_settings(None, wanted))
    _, fewer, last = made
    assert (fewer[0], fewer[2]) == (14, True)
    assert set(fewer[1]) < set(of_all[1])
    assert last == (len(many), of_all[1], False)
    assert len(filled) == len(made)
    # Both are judged by the same structures, and the mean is the one that the levels ask for, bit for bit.
    reasons = [{c["key"]: c for c in p.record["choices"]}["model.refine"]["reason"] for p in (plain, once)]
    assert all(r.startswith(f"errors of {len(of_all[1])} structures left out fall by") for r in reasons)
    monkeypatch.setattr(Refining, "plan", plan)
    again = gp.fit(many, soap(), gp.DotPower(2), settings=gp.Settings.model_validate(once.record["settings"]))
    same_mean(once, again, many[0], 0.0)
    assert made[-1][2] is False  # with levels that are given there is nothing to keep it for


def test_where_noise_cannot_be_chosen_with_fewer_the_sparse_model_is_kept(many, monkeypatch):
    plan = Refining.plan

    def planned(self, m):
        found = plan(self, m)
        return replace(found, effort=replace(found.effort, factors=4, judged=6))

    monkeypatch.setattr(Refining, "plan", planned)
    wanted = ("model.method=sparse", "model.n_inducing=4", "model.solver=factor", "train.search=false")
    potential = gp.fit(many, soap(), gp.DotPower(2), settings=gp.load_settings(None, [*wanted]))
    chosen = {c["key"]: c for c in potential.record["choices"]}["model.refine"]
    assert chosen["value"] is False
    assert "structures are too few to choose noise by" in chosen["reason"]


def test_noise_away_from_the_sparse_models_must_gain_more_than_its_standard_error():
    def left(errors):
        shape = (8, 3)
        made = jnp.broadcast_to(jnp.asarray(errors)[:, None], shape)
        return LeftOut(made, made, jnp.zeros(shape), jnp.ones(shape), jnp.broadcast_to(jnp.array([0, 1, 1]), shape))

    old = left(np.full(8, 1.0))
    alike, by_one = left(np.full(8, 0.9)), left(np.r_[0.1, np.full(7, 1.0)])
    assert refined_levels._better_noise(alike, old, away=True)
    assert not refined_levels._better_noise(by_one, old, away=True)
    assert not refined_levels._better_noise(left(np.full(8, 0.99)), old, away=True)
    # That model's own is as good where one structure alone is predicted worse.
    assert refined_levels._better_noise(old, by_one, away=False)
    assert not refined_levels._better_noise(old, alike, away=False)


def test_without_any_factor_the_levels_stay(many, monkeypatch):
    def refused(self, levels, shape, callback):
        raise gp.InputError("not positive definite")

    monkeypatch.setattr(DirectSystem, "errors", refused)
    wanted = ("model.method=sparse", "model.n_inducing=4", "model.refine=true", "train.search=false")
    potential = gp.fit(many, soap(), gp.DotPower(2), settings=gp.load_settings(None, [*wanted]))
    chosen = {c["key"]: c for c in potential.record["choices"]}["model.refine"]
    assert chosen["reason"] == "asked for, at the sparse model's levels: not positive definite"


def test_where_no_factor_can_be_made_the_sparse_model_is_kept(frames, monkeypatch):
    def refused(self, scale, callback):
        raise gp.InputError("not positive definite")

    monkeypatch.setattr(TiledCholesky, "factorise", refused)
    wanted = (*FEW[:3], "model.solver=factor")
    potential = gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings(*wanted))
    plain = gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings(*FEW[:2], "model.refine=false"))
    same_mean(potential, plain, frames[7], 1e-12)
    chosen = {c["key"]: c for c in potential.record["choices"]}["model.refine"]
    assert (chosen["value"], chosen["reason"]) == (False, "not positive definite")


@pytest.mark.parametrize("better", [True, False])
@pytest.mark.parametrize(("products", "factors"), [(0, [1.0]), (280, [1.0, 4.0]), (10**6, [1.0, 4.0])])
def test_what_never_converges_is_judged_by_what_it_predicts(many, monkeypatch, products, factors, better):
    """It is taken, as far as there was time to get, if its errors are smaller, and only then."""

    def never(tried):
        return Solution(np.zeros(1), 120, 0.7, False)

    def error_of(tried):
        return (1.0 if better else 3.0) * tried[0] / refined_levels.FIRST

    tried, choice = noises_tried(many, monkeypatch, products, never, error_of)
    np.testing.assert_allclose(tried / tried[0], factors)
    assert choice["value"] is better
    assert ("fall by 50 %" if better else "would rise by 50.0 %") in choice["reason"]
    assert "by 120 iterations that left 0.7 of the noise" in choice["reason"]


def test_a_kernel_that_is_no_function_of_the_product_is_refused(frames):
    own = gp.FunctionKernel(lambda p, q: (p @ q) ** 2)
    with pytest.raises(gp.InputError, match="refine wants a kernel"):
        gp.fit(frames[:3], soap(), own, settings=settings(*FEW))
