"""Potentials that mix posteriors over signal variance and noise, against single potentials, one for each draw."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors import safe_open

import gpjaxpot as gp
from gpjaxpot.potential import hyper
from gpjaxpot.potential.settings import Settings
from gpjaxpot.structures.structure import Structure
from tests.potential.conftest import labelled, settings, soap

AUTO = ["noise.energy=auto", "noise.forces=auto", "noise.stress=auto", "kernel.variance=auto"]
OPTIONS = {
    "exact": ["model.method=exact"],
    "sparse": ["model.method=sparse", "model.n_inducing=16", "model.selection=farthest"],
}
NAMES = ("energy", "energies", "forces", "stress")


def fitted(frames, kind, *more, method="laplace"):
    """Small potential whose levels are all learned and uncertain."""
    chosen = settings(*OPTIONS[kind], *AUTO, "train.objective=evidence", f"hyper.method={method}", *more)
    return gp.fit(frames, soap(), gp.DotPower(2), settings=chosen)


def plain(frames, kind, variance, noise, *more):
    """The same potential at given levels."""
    levels = [f"kernel.variance={variance!r}", *(f"noise.{n}={v!r}" for n, v in noise.items())]
    return gp.fit(frames, soap(), gp.DotPower(2), settings=settings(*OPTIONS[kind], *levels, *more))


@pytest.fixture(scope="module", params=["exact", "sparse"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def mixed(kind, frames):
    return fitted(frames[:5], kind)


def test_equals_the_average_of_single_potentials(mixed, kind, frames):
    s = frames[7].structure
    levels = mixed.summary()["hyperparameters"]["levels"]
    members = [
        plain(frames[:5], kind, v, {"energy": e, "forces": f, "stress": w})
        for v, e, f, w in zip(levels["variance"], levels["energy"], levels["forces"], levels["stress"], strict=True)
    ]
    assert len(members) == 8
    own = [m.predict(s, uncertainty=True, covariance=True) for m in members]
    p = mixed.predict(s, uncertainty=True, covariance=True)
    for name in NAMES:
        values = np.array([getattr(q, name) for q in own])
        # Weights cancel to some 1e-8 eV in ill-conditioned members.
        np.testing.assert_allclose(getattr(p, name), values.mean(0), atol=1e-6)
        within = np.mean([np.square(getattr(q, f"{name}_epistemic_std")) for q in own], axis=0)
        np.testing.assert_allclose(np.square(getattr(p, f"{name}_epistemic_within_std")), within, rtol=1e-4, atol=1e-9)
        between = values.std(0)
        np.testing.assert_allclose(getattr(p, f"{name}_epistemic_between_std"), between, rtol=1e-3, atol=1e-6)
        if name != "energies":
            aleatoric = np.mean([np.square(getattr(q, f"{name}_aleatoric_std")) for q in own], axis=0)
            np.testing.assert_allclose(np.square(getattr(p, f"{name}_aleatoric_std")), aleatoric, rtol=1e-10)
    forces = np.array([q.forces for q in own])
    apart = forces - forces.mean(0)
    outer = np.einsum("sai,saj->aij", apart, apart) / len(own)
    np.testing.assert_allclose(p.forces_between_covariance, outer, atol=1e-8)
    within = np.mean([q.forces_covariance for q in own], axis=0)
    np.testing.assert_allclose(p.forces_covariance, within + outer, atol=1e-8)


def test_the_ledger_adds_up_to_round_off(mixed, frames):
    p = mixed.predict(frames[7], uncertainty=True, covariance=True)
    for name in NAMES:
        within, between, epistemic = (
            np.square(getattr(p, f"{name}_epistemic{part}_std")) for part in ("_within", "_between", "")
        )
        np.testing.assert_allclose(epistemic, within + between, rtol=1e-14)
        assert np.min(between) > 0
        aleatoric = getattr(p, f"{name}_aleatoric_std")
        total = epistemic if aleatoric is None else epistemic + np.square(aleatoric)
        np.testing.assert_allclose(np.square(getattr(p, f"{name}_std")), total, rtol=1e-14)
    diagonal = np.diagonal(p.forces_between_covariance, axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal, p.forces_epistemic_between_std**2, rtol=1e-12)
    diagonal = np.diagonal(p.forces_covariance, axis1=1, axis2=2)
    np.testing.assert_allclose(diagonal, p.forces_epistemic_std**2, rtol=1e-10, atol=1e-13)


def test_the_joint_posterior_has_both_terms(mixed, frames):
    s = frames[6].structure
    p, joint = mixed.predict(s, uncertainty=True, covariance=True), mixed.joint(s)
    std = np.sqrt(np.diag(joint.covariance))
    np.testing.assert_allclose(p.energy_epistemic_std, std[0], rtol=1e-6)
    np.testing.assert_allclose(p.forces_epistemic_std.ravel(), std[1:13], rtol=1e-6)
    np.testing.assert_allclose(p.stress_epistemic_std, std[-6:], rtol=1e-6)
    assert abs(joint.covariance[1:13, 1:13].reshape(4, 3, 4, 3).sum(axis=(0, 2))).max() < 1e-9  # no net force


def test_the_mean_forces_are_minus_the_slope_of_the_mean_energy(mixed, frames):
    s, h = frames[7].structure, 1e-4
    step = np.zeros_like(s.positions)
    step[2, 1] = h
    up, down = (mixed.predict(Structure(s.positions + d, s.numbers, s.cell, True)).energy for d in (step, -step))
    np.testing.assert_allclose(mixed.predict(s).forces[2, 1], -(up - down) / (2 * h), atol=2e-5)


def test_a_posterior_without_width_is_the_plain_potential(kind, frames, monkeypatch):
    monkeypatch.setattr(hyper, "PRIOR", 1e-7)  # the levels cannot leave where the search starts
    narrow = fitted(frames[:5], kind)
    record = narrow.summary()["hyperparameters"]
    levels = {name: values[0] for name, values in record["levels"].items()}
    assert max(record["std_of_logarithm"].values()) < 2e-7
    one = plain(frames[:5], kind, levels.pop("variance"), levels)
    a, b = (x.predict(frames[7], uncertainty=True) for x in (narrow, one))
    for name in NAMES:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-6)
        np.testing.assert_allclose(
            getattr(a, f"{name}_epistemic_std"), getattr(b, f"{name}_epistemic_std"), rtol=1e-5, atol=1e-7
        )
        assert np.max(getattr(a, f"{name}_epistemic_between_std")) < 1e-6
    assert narrow.log_marginal_likelihood == pytest.approx(one.log_marginal_likelihood, abs=1e-4)
    assert b.energy_epistemic_within_std is None
    assert b.forces_epistemic_between_std is None


def test_left_out_keeps_the_energy_noise(kind, frames):
    # The evidence would give energies up for forces, and with them what the default objective is for.
    one = fitted(frames, kind, "train.objective=left_out")
    chosen = settings(*OPTIONS[kind], *AUTO, "train.objective=left_out")
    plain_one = gp.fit(frames, soap(), gp.DotPower(2), settings=chosen)
    assert set(one.summary()["hyperparameters"]["levels"]) == {"variance", "forces", "stress"}
    assert one.summary()["noise"]["energy"] == plain_one.summary()["noise"]["energy"]
    assert one.noise.predicted("energy", 4) == plain_one.noise.predicted("energy", 4)
    assert one.summary()["suspects"] == plain_one.summary()["suspects"]
    reasons = {c["key"]: c["reason"] for c in one.summary()["choices"]}
    assert "energy noise stays" in reasons["hyper.members"]
    assert "members" in reasons["noise.aleatoric_forces"]


def test_few_data_widen_the_error_bars_more_than_many():
    frames = labelled(17)
    ratios = []
    for n in (2, 16):
        wide = fitted(frames[:n], "sparse")
        noise = wide.summary()["noise"]
        variance = {c["key"]: c["value"] for c in wide.summary()["choices"]}["kernel.variance"]
        one = plain(frames[:n], "sparse", variance, noise)
        a, b = (x.predict(frames[16], uncertainty=True) for x in (wide, one))
        ratios.append(np.mean(a.forces_std) / np.mean(b.forces_std))
    assert ratios[0] > 1.03
    assert 0.99 < ratios[1] < ratios[0]


def test_laplace_and_nuts_agree(frames):
    pytest.importorskip("blackjax")
    more = ["hyper.members=64", "train.stress=false", "noise.energy=0.02"]
    one, two = (fitted(labelled(16), "sparse", *more, method=m) for m in ("laplace", "nuts"))
    widths = [x.summary()["hyperparameters"]["std_of_logarithm"] for x in (one, two)]
    assert set(widths[0]) == {"variance", "forces"}
    for name, width in widths[0].items():
        # 400 draws, less the correlations: their deviation is good to some 5 %.
        assert widths[1][name] == pytest.approx(width, rel=0.2)
    a, b = (x.predict(frames[7], uncertainty=True) for x in (one, two))
    # Means differ by less than a third of what hyperparameters make uncertain.
    assert abs(a.energy - b.energy) < 0.34 * a.energy_epistemic_between_std
    np.testing.assert_allclose(b.forces_std, a.forces_std, rtol=0.05)
    np.testing.assert_allclose(b.energy_epistemic_between_std, a.energy_epistemic_between_std, rtol=0.4)
    assert two.summary()["hyperparameters"]["r_hat"] < 1.05


def test_what_is_loaded_predicts_the_same_bits(mixed, frames, tmp_path):
    path = tmp_path / "model.safetensors"
    mixed.save(path)
    again = gp.Potential.load(path)
    a, b = (p.predict(frames[7], uncertainty=True) for p in (mixed, again))
    for name in NAMES:
        for part in ("", "_std", "_epistemic_within_std", "_epistemic_between_std"):
            np.testing.assert_array_equal(getattr(a, name + part), getattr(b, name + part))
    assert again.summary() == mixed.summary()
    assert again.log_marginal_likelihood == mixed.log_marginal_likelihood


def test_only_mixed_models_need_the_newer_format(mixed, sparse, tmp_path):
    found = []
    bare = replace(sparse, repulsion=None)
    for k, potential in enumerate((replace(mixed, repulsion=None), bare.with_calibration(None), bare)):
        path = tmp_path / f"{k}.safetensors"
        potential.save(path)
        with safe_open(path, framework="np") as stored:
            found.append(json.loads(stored.metadata()["gpjaxpot"])["format"])
    assert found == [2, 1, 4]  # the last for its calibration


def test_samples(mixed, kind, frames):
    s = frames[7].structure
    if kind == "exact":
        with pytest.raises(gp.InputError, match="joint"):
            mixed.sample(jax.random.key(0))
    else:
        one = mixed.sample(jax.random.key(0))
        assert one.predict(s).energy != mixed.predict(s).energy
        np.testing.assert_array_equal(one.predict(s).forces, mixed.sample(jax.random.key(0)).predict(s).forces)
    joint = mixed.joint(s)
    draws = joint.sample(jax.random.key(0), 4000)
    # The relative error of a variance from 4000 draws is 2.2 %; six of them.
    np.testing.assert_allclose(draws[:, 0].var(), joint.covariance[0, 0], rtol=0.13)


def test_the_resolved_settings_reproduce_the_fit(mixed, kind, frames):
    summary = mixed.summary()
    resolved = Settings.model_validate(summary["settings"])
    assert resolved.train.objective == "evidence"
    assert resolved.kernel.variance == resolved.noise.energy == "auto"
    again = gp.fit(frames[:5], soap(), gp.DotPower(2), settings=resolved)
    np.testing.assert_array_equal(again.predict(frames[7]).forces, mixed.predict(frames[7]).forces)
    reasons = {c["key"]: c["reason"] for c in summary["choices"]}
    assert "Laplace" in reasons["hyper.members"]
    assert summary["hyperparameters"]["members"] == 8


def test_written_predictions_keep_both_terms(mixed, frames, tmp_path):
    from ase.io import read

    path = tmp_path / "p.xyz"
    p = mixed.predict(frames[7], uncertainty=True)
    gp.write_predictions(path, [frames[7]], [p])
    atoms = read(path)
    assert atoms.info["GPJ_energy_uncertainty_epistemic_within"] == pytest.approx(p.energy_epistemic_within_std)
    np.testing.assert_allclose(atoms.arrays["GPJ_forces_uncertainty_epistemic_between"], p.forces_epistemic_between_std)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["kernel.variance=1.0", "noise.energy=0.1", "noise.forces=0.1", "noise.stress=0.1"], "nothing is left"),
        (["hyper.members=5"], "5 members .* even number"),
        (["hyper.members=6"], "at least 8"),
    ],
)
def test_what_cannot_be_done_is_said(frames, options, message):
    with pytest.raises(gp.InputError, match=message):
        fitted(frames[:3], "sparse", *options)


def test_a_level_that_no_label_speaks_of_is_not_uncertain(frames):
    potential = fitted(frames[:4], "sparse", "train.stress=false", "hyper.members=6")
    assert set(potential.summary()["hyperparameters"]["levels"]) == {"variance", "energy", "forces"}
    levels = ["kernel.variance=1.0", "noise.energy=0.1", "noise.forces=0.1", "train.stress=false"]
    with pytest.raises(gp.InputError, match="nothing is left"):
        fitted(frames[:3], "sparse", *levels)
