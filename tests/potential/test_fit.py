"""Fitting: interruptions, choices, settings, and what cannot be fitted."""

import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.potential.budget import estimate
from gpjaxpot.potential.settings import Settings, template_text
from tests.potential.conftest import labelled, settings, soap


def test_an_interrupted_fit_goes_on_to_the_same_potential(frames, tmp_path, monkeypatch):
    from gpjaxpot.potential import sparse_fit

    monkeypatch.setattr(sparse_fit, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(sparse_fit, "BATCH_ATOMS", 8)
    chosen = settings("model.method=sparse", "model.n_inducing=12")
    whole = gp.fit(frames, soap(), gp.DotPower(2), settings=chosen)
    path = tmp_path / "model.partial"

    def stop(stage, done, total):
        if stage == "covariances" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gp.fit(frames, soap(), gp.DotPower(2), settings=chosen, checkpoint=path, callback=stop)
    assert path.exists()
    first = []
    again = gp.fit(
        frames, soap(), gp.DotPower(2), settings=chosen, checkpoint=path,
        callback=lambda stage, done, total: first.append(done) if stage == "covariances" else None,
    )  # fmt: skip
    assert first[0] > 1  # it did not begin anew
    assert not path.exists()
    a, b = whole.predict(frames[0]), again.predict(frames[0])
    np.testing.assert_allclose(b.forces, a.forces, atol=1e-8)


def test_levels_found_by_evidence_are_better_than_their_neighbours(frames):
    auto = ["noise.energy=0.01", "noise.forces=auto", "noise.stress=auto", "kernel.variance=auto"]
    for method in ("exact", "sparse"):
        best = gp.fit(frames, soap(), gp.DotPower(2), settings=settings(f"model.method={method}", *auto))
        level = best.summary()["noise"]["forces"]
        for factor in (0.5, 2.0):
            worse = [a for a in auto if not a.startswith("noise.forces")] + [f"noise.forces={factor * level}"]
            other = gp.fit(frames, soap(), gp.DotPower(2), settings=settings(f"model.method={method}", *worse))
            assert other.log_marginal_likelihood < best.log_marginal_likelihood + 1.0


@pytest.mark.parametrize("method", ["exact", "sparse"])
def test_levels_learned_by_leaving_structures_out(frames, method):
    options = ["model.n_inducing=12"] if method == "sparse" else []
    auto = ["noise.energy=auto", "noise.forces=auto", "noise.stress=auto", "kernel.variance=auto"]
    chosen = settings(f"model.method={method}", "train.objective=left_out", *options, *auto)
    potential = gp.fit(frames, soap(), gp.DotPower(2), settings=chosen)
    noise, found = potential.noise, {c["key"]: c["value"] for c in potential.summary()["choices"]}
    for name in ("energy", "forces", "stress"):
        assert getattr(noise, name) == found[f"noise.{name}"] > 0
        reported = found.get(f"noise.aleatoric_{name}", found[f"noise.{name}"])
        assert noise.predicted(name, 1) == pytest.approx(reported)
        # Never more than the level; exact models leave nothing out.
        assert reported <= getattr(noise, name)
    assert ("noise.aleatoric_forces" in found) == (method == "sparse")
    resolved = Settings.model_validate(potential.summary()["settings"])
    again = gp.fit(frames, soap(), gp.DotPower(2), settings=resolved)
    a, b = (p.predict(frames[0], uncertainty=True) for p in (potential, again))
    np.testing.assert_allclose(b.forces_std, a.forces_std, rtol=1e-6)


def test_the_resolved_settings_reproduce_the_fit(frames):
    chosen = gp.load_settings(None, ["model.method=sparse", "descriptor.n_max=3", "descriptor.l_max=2"])
    one = gp.fit(frames, settings=chosen)
    two = gp.fit(frames, settings=Settings.model_validate(one.summary()["settings"]))
    a, b = one.predict(frames[0], uncertainty=True), two.predict(frames[0], uncertainty=True)
    np.testing.assert_allclose(b.forces, a.forces, atol=1e-9)
    np.testing.assert_allclose(b.forces_std, a.forces_std, atol=1e-9)


def test_the_template_is_the_defaults(tmp_path):
    path = tmp_path / "template.toml"
    path.write_text(template_text(), encoding="utf-8")
    assert gp.load_settings(path) == Settings()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("kernel.zetta=4", "did you mean 'zeta'"),
        ("descriptor.cutof=4", "did you mean 'cutoff'"),
        ("model.method=dense", "model.method"),
        ("noise.forces=much", "noise.forces"),
        ("nonsense", "key=value"),
    ],
)
def test_a_wrong_setting_is_explained(override, message):
    with pytest.raises(gp.InputError, match=message):
        gp.load_settings(None, [override])


def test_a_wrong_override_is_not_blamed_on_the_file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[kernel]\nzeta = 2.0\n", encoding="utf-8")
    with pytest.raises(gp.InputError, match=r"--set kernel.zetta=4: unknown key"):
        gp.load_settings(path, ["model.n_inducing=10", "kernel.zetta=4"])
    path.write_text("[kernel]\nzetta = 2.0\n", encoding="utf-8")
    with pytest.raises(gp.InputError, match=r"config.toml: unknown key"):
        gp.load_settings(path, ["kernel.zeta=4"])


def test_groups_and_own_sigmas_override_the_noise():
    frames = labelled(4)
    loose = gp.Frame(frames[0].structure, frames[0].labels, group="hot")
    own = gp.Labels(frames[1].labels.energy, frames[1].labels.forces, forces_sigma=3.0)
    chosen = settings("noise.groups.hot.forces=0.7", "model.method=exact")
    from gpjaxpot.potential.fit import initial_noise

    noise = initial_noise(chosen.noise)
    assert noise.sigma("forces", loose) == (0.7, True)
    assert noise.sigma("forces", gp.Frame(frames[1].structure, own)) == (3.0, True)
    np.testing.assert_allclose(noise.sigma("energy", frames[2])[0], 0.002 * 2.0)


def test_estimate_names_a_method_and_a_reason(frames):
    small = estimate(frames)
    assert small.method == "exact"
    assert small.n_observations == sum(1 + 12 + 6 for _ in frames)
    tight = estimate(frames, gp.load_settings(None, ["model.memory=0.0001"]))
    assert tight.method == "sparse"
    assert "budget" in tight.reason


def test_nothing_to_train_on_is_said(frames):
    empty = [gp.Frame(f.structure) for f in frames]
    with pytest.raises(gp.InputError, match="nothing to train on"):
        gp.fit(empty, soap(), gp.DotPower(2))


def test_float32_prediction_is_close_and_unknown_species_are_refused(frames):
    loose = settings("model.method=sparse", "model.n_inducing=12", "noise.energy=0.1", "noise.forces=0.3")
    sparse = gp.fit(frames[:6], soap(), gp.DotPower(2), settings=loose)
    a, b = sparse.predict(frames[7]), sparse.predict(frames[7], dtype="float32")
    # A sum of terms as large as the weights, each good to 6e-8: a few parts in 10⁶ of the largest.
    size = float(abs(np.asarray(sparse.centres.values)).max())
    assert abs(b.energy - a.energy) < 4e-6 * size
    np.testing.assert_allclose(b.forces, a.forces, atol=4e-6 * size)
    with pytest.raises(gp.InputError, match="Cl"):
        sparse.predict(gp.Structure(np.zeros((1, 3)), [17]))
