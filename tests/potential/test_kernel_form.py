"""What structures left out say of a kernel: usual values, powers and bases are taken where they predict better."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import gpjaxpot as gp
from gpjaxpot.gp.left_out import LeftOut
from gpjaxpot.potential import kernel_form, learned_kernel
from gpjaxpot.potential.choices import COARSE, FINE, FINER, HEAVY, Choice, choose_kernel
from gpjaxpot.potential.kernel_form import choose_form, keep_learned, with_basis, with_power
from gpjaxpot.potential.learned_kernel import Searched
from gpjaxpot.potential.search import with_values
from tests.potential.conftest import labelled, settings, soap


def judge_by(sizes):
    """A judge who says how large errors are; of a form that is not in `sizes`, 1."""
    asked = []

    def judge(kernel):
        soap = kernel.terms[0].descriptor
        form = (kernel.terms[0].kernel.zeta, soap.n_max, soap.l_max)
        asked.append(form)
        error = np.full((5, 7), sizes.get(form, 1.0))
        kind = np.broadcast_to([0, 1, 1, 1, 1, 1, 1], error.shape)
        return LeftOut(error, error, np.ones_like(error), np.ones_like(error), kind)

    return judge, asked


def chosen(sizes, *overrides):
    given = gp.load_settings(None, overrides)
    kernel, choices, _ = choose_kernel(labelled(3), given)
    judge, asked = judge_by(sizes)
    kernel, made = choose_form(kernel, choices, given, judge)
    assert len(made) == len(choices)
    return kernel, {c.key: c for c in made}, asked


def form(kernel):
    first = kernel.terms[0]
    return first.kernel.zeta, first.descriptor.n_max, first.descriptor.l_max


def test_what_is_usual_stays_where_others_are_hardly_better():
    kernel, choices, asked = chosen({(6.0, *FINE): 0.985, (3.0, *FINE): 2.0, (4.0, *COARSE): 0.99})
    assert form(kernel) == (4.0, *FINE)
    assert asked == [(4.0, *FINE), (3.0, *FINE), (6.0, *FINE), (4.0, *COARSE), (4.0, *FINER)]
    assert choices["kernel.zeta"].value == 4.0
    assert "+1.2 % with 6" in choices["kernel.zeta"].reason
    assert choices["descriptor.0.n_max"].reason.startswith("vectors are short enough")
    assert "+0.8 % with n_max=6, l_max=5" in choices["descriptor.0.n_max"].reason


def test_what_predicts_better_is_taken_one_thing_after_the_other():
    kernel, choices, asked = chosen({(3.0, *FINE): 0.9, (6.0, *FINE): 0.95, (3.0, *COARSE): 0.8})
    assert form(kernel) == (3.0, *COARSE)
    assert asked[-2:] == [(3.0, *COARSE), (3.0, *FINER)]
    assert choices["kernel.zeta"].value == 3.0
    assert (choices["descriptor.0.n_max"].value, choices["descriptor.0.l_max"].value) == COARSE


def test_a_finer_basis_is_taken_where_it_predicts_better_and_is_not_too_long(monkeypatch):
    kernel, choices, _ = chosen({(4.0, *COARSE): 0.95, (4.0, *FINER): 0.9})
    assert form(kernel) == (4.0, *FINER)
    assert "+8.4 % with n_max=10, l_max=8" in choices["descriptor.0.l_max"].reason
    monkeypatch.setattr(kernel_form, "LONGEST", 400)  # 495 of it
    kernel, _, asked = chosen({(4.0, *FINER): 0.9})
    assert form(kernel) == (4.0, *FINE)
    assert (4.0, *FINER) not in asked


def test_what_is_given_is_not_tried():
    kernel, choices, asked = chosen({(4.0, *COARSE): 0.5}, "kernel.zeta=2")
    assert form(kernel) == (2.0, *FINE)
    assert "kernel.zeta" not in choices
    assert {a[0] for a in asked} == {2.0}
    kernel, _, asked = chosen({(3.0, 5, 6): 0.5}, "descriptor.n_max=5")
    assert form(kernel) == (3.0, 5, 6)
    assert {a[1:] for a in asked} == {(5, 6)}
    assert chosen({}, "kernel.zeta=2", "descriptor.n_max=5")[2] == []
    assert chosen({}, "kernel.type=matern52", "descriptor.l_max=3")[2] == []


def test_another_form_keeps_everything_else():
    kernel = gp.EnergyKernel((gp.Term(soap(radial_scale=2.0).with_species((14, 32)), gp.DotPower(4)),), jnp.eye(2))
    other = with_basis(with_power(kernel, 3.0), 5, 4)
    before, after = kernel.terms[0].descriptor, other.terms[0].descriptor
    assert (after.n_max, after.l_max, other.terms[0].kernel.zeta) == (5, 4, 3.0)
    assert after.species == before.species
    for name in ("cutoff", "sigma", "cutoff_width", "radial_scale", "radial_exponent"):
        assert float(getattr(after, name)) == float(getattr(before, name))
    assert_allclose(other.similarity, np.eye(2))


def test_a_fit_finds_the_power_that_its_labels_were_made_with(monkeypatch):
    """Labels of a model of power 1, which the usual power predicts worse; and what was found repeats the fit."""
    monkeypatch.setattr(learned_kernel, "LEAST_FORCES", 10)
    monkeypatch.setattr(kernel_form, "POWERS", (1.0,))
    linear = gp.fit(labelled(8), soap(), gp.DotPower(1), settings=settings("model.method=exact"))
    frames = []
    for frame in labelled(24, seed=5):
        p = linear.predict(frame.structure)
        frames.append(gp.Frame(frame.structure, gp.Labels(p.energy, p.forces, p.stress), source=frame.source))
    fixed = [f"descriptor.{k}={getattr(soap(), k)}" for k in ("n_max", "l_max", "cutoff", "sigma")]
    fixed += ["descriptor.radial_scale=none", "model.n_inducing=40", "model.method=sparse", "model.refine=false"]
    wanted = gp.load_settings(None, fixed)
    first = gp.fit(frames, settings=wanted)
    choice = next(c for c in first.summary()["choices"] if c["key"] == "kernel.zeta")
    assert choice["value"] == 1.0
    assert "with 1" in choice["reason"]
    resolved = gp.Settings.model_validate(first.summary()["settings"])
    assert resolved.kernel.zeta == 1.0
    again = gp.fit(frames, settings=resolved)
    assert np.array_equal(np.asarray(first.centres.values), np.asarray(again.centres.values))
    monkeypatch.setattr(kernel_form, "STRUCTURES", 25)
    few = gp.fit(frames, settings=wanted)
    assert few.summary()["settings"]["kernel"]["zeta"] == pytest.approx(4.0)


def test_of_many_species_the_finer_basis_is_not_tried():
    frames = labelled(3, species=(3, 14, 32))
    kernel, choices, _ = choose_kernel(frames, gp.Settings())
    judge, asked = judge_by({})
    kernel, _ = choose_form(kernel, choices, gp.Settings(), judge)
    assert form(kernel) == (4.0, *COARSE)
    assert {a[1:] for a in asked} == {COARSE}


def test_a_fit_in_a_hurry_keeps_what_is_usual():
    assert chosen({(6.0, *FINE): 0.5}, "model.time=500")[2] == []


def held_against_usual(learned_errors, usual_errors):
    """What becomes of a learned cutoff of 3.25 Å and σ of 0.5 Å with such errors of structures left out."""
    usual, choices, _ = choose_kernel(labelled(3), gp.Settings())
    kernel = with_values(usual, {"0.cutoff": jnp.asarray(3.25), "0.sigma": jnp.asarray(0.5)})
    learned = {"descriptor.0.cutoff": 3.25, "descriptor.0.sigma": 0.5}
    made = [Choice(c.key, learned[c.key], "best; Å") if c.key in learned else c for c in choices]
    errors = {3.25: learned_errors, 5.0: usual_errors}
    asked = []

    def judge(kernel):
        cutoff = float(kernel.terms[0].descriptor.cutoff)
        asked.append(cutoff)
        error = np.repeat(np.array(errors[cutoff])[:, None], 7, axis=1)
        kind = np.broadcast_to([0, 1, 1, 1, 1, 1, 1], error.shape)
        return LeftOut(error, error, np.ones_like(error), np.ones_like(error), kind)

    searched = Searched(usual, [c for c in choices if c.key in learned], 336)
    kernel, told, left = keep_learned(kernel, made, searched, judge)
    assert asked == [3.25, 5.0]
    assert [c.key for c in told] == [c.key for c in choices]
    soap, values = kernel.terms[0].descriptor, {c.key: c for c in told}
    assert (values["descriptor.0.cutoff"].value, values["descriptor.0.sigma"].value) == (soap.cutoff, soap.sigma)
    assert_allclose(left.error[:, 0], errors[float(soap.cutoff)])
    assert values["descriptor.0.radial_scale"] == {c.key: c for c in choices}["descriptor.0.radial_scale"]
    return float(soap.cutoff), values["descriptor.0.cutoff"].reason


def test_usual_values_are_taken_where_learned_ones_surely_predict_worse():
    cutoff, reason = held_against_usual(1.2 * np.array([1.0, 2.0, 1.5, 0.5]), [1.0, 2.0, 1.5, 0.5])
    assert cutoff == 5.0
    # A log ratio of 0.18 of energies and of forces, of whose weights and that of stresses the mean is taken.
    assert reason.startswith(HEAVY["cutoff"][-1])
    assert "errors of 4 structures left out rise by 15.7 ± 0.0 % with what 336 atoms ask for, 3.25 here" in reason
    assert reason.endswith("; Å")


@pytest.mark.parametrize(
    ("learned", "found"),
    [
        ([0.9, 1.8, 1.35, 0.45], "fall by 8.1 ± 0.0 %"),
        ([1.015, 2.03, 1.5225, 0.5075], "rise by 1.2 ± 0.0 %"),  # less than what is worth it
        ([3.0, 2.0, 1.5, 0.5], "rise by 30.9 ± 27.5 %"),  # one structure alone makes it
    ],
)
def test_learned_values_stay_where_there_is_doubt(learned, found):
    cutoff, reason = held_against_usual(learned, [1.0, 2.0, 1.5, 0.5])
    assert cutoff == 3.25
    assert reason.startswith("best; errors of 4 structures left out")
    assert found in reason
    assert reason.endswith("% against usual values; Å")


def test_a_fit_tests_what_it_has_learned(monkeypatch):
    """A cutoff within the first shell is not kept, in a fit too short to ask for powers, and its choices repeat it."""
    asked = []

    def search(kernel, frames, ranges, callback, restarts, seed):
        asked.append(set(ranges))
        return {"0.cutoff": 2.5, "0.sigma": 0.45}, 96

    monkeypatch.setattr(learned_kernel, "LEAST_FORCES", 10)
    monkeypatch.setattr(learned_kernel, "search", search)
    tin = (50,)  # of whose atoms each has another one near
    alone = gp.Frame(gp.Structure(np.zeros((1, 3)), list(tin)), gp.Labels(2.0), source="one atom")
    frames = [*labelled(24, tin, seed=5), alone]
    fixed = [f"descriptor.{k}" for k in ("n_max=3", "l_max=2", "radial_scale=none", "radial_exponent=4")]
    fixed += ["model.n_inducing=40", "model.method=sparse", "model.refine=false", "model.time=400"]
    wanted = gp.load_settings(None, fixed)
    first = gp.fit(frames, settings=wanted)
    found = first.summary()
    choice = {c["key"]: c for c in found["choices"]}
    assert choice["descriptor.0.cutoff"]["value"] == 5.0
    assert "errors of 24 structures left out rise by" in choice["descriptor.0.cutoff"]["reason"]
    assert "with 6" not in choice["kernel.zeta"]["reason"]
    assert choice["cohesion"]["value"]  # as of the usual cutoff: within the learned one some atoms have no others
    assert first.cohesion.cutoff == 5.0
    again = gp.fit(frames, settings=gp.Settings.model_validate(found["settings"]))
    assert asked == [{"0.cutoff", "0.sigma"}]  # the resolved settings ask for none
    assert first.cutoff == again.cutoff == 5.0
    assert np.array_equal(np.asarray(first.centres.values), np.asarray(again.centres.values))
    given = gp.fit(frames, gp.DotPower(2), settings=wanted)  # a kernel that is given is tested as it is, and stays
    assert given.cutoff == 5.0
    assert given.kernel.terms[0].kernel.kernel.zeta == 2.0
    monkeypatch.setattr(kernel_form, "STRUCTURES", 25)
    few = gp.fit(frames, settings=wanted).summary()
    choice = {c["key"]: c for c in few["choices"]}
    assert choice["descriptor.0.cutoff"]["value"] == 2.5
    assert "left out" not in choice["descriptor.0.cutoff"]["reason"]
