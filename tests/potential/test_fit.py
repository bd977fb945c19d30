"""Fitting: interruptions, choices, settings, and what cannot be fitted."""

import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.potential.budget import estimate
from gpjaxpot.potential.levels import STEPS
from gpjaxpot.potential.settings import Settings, template_text
from tests.potential.conftest import labelled, settings, soap

AUTO = ["noise.energy=auto", "noise.forces=auto", "noise.stress=auto", "kernel.variance=auto"]


def test_an_interrupted_fit_goes_on_to_the_same_potential(frames, tmp_path, monkeypatch):
    from gpjaxpot.potential import batching, streaming

    monkeypatch.setattr(streaming, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(batching, "BATCH_ATOMS", 8)
    chosen = settings("model.method=sparse", "model.n_inducing=12")
    whole = gp.fit(frames, soap(), gp.DotPower(2), settings=chosen)
    path = tmp_path / "model.partial"

    def stop(stage, done, total):
        if stage == "covariances" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gp.fit(frames, soap(), gp.DotPower(2), settings=chosen, checkpoint=path, callback=stop)
    assert list(tmp_path.iterdir())
    first = []
    again = gp.fit(
        frames, soap(), gp.DotPower(2), settings=chosen, checkpoint=path,
        callback=lambda stage, done, total: first.append(done) if stage == "covariances" else None,
    )  # fmt: skip
    assert first[0] > 1  # it did not begin anew
    assert not list(tmp_path.iterdir())
    a, b = whole.predict(frames[0]), again.predict(frames[0])
    np.testing.assert_array_equal(b.forces, a.forces)  # what is stored changes no sum


def test_levels_found_by_evidence_are_better_than_their_neighbours(frames):
    auto = ["noise.energy=0.01", "noise.forces=auto", "noise.stress=auto", "kernel.variance=auto"]
    auto.append("train.objective=evidence")
    for method in ("exact", "sparse"):
        best = gp.fit(frames, soap(), gp.DotPower(2), settings=settings(f"model.method={method}", *auto))
        level = best.summary()["noise"]["forces"]
        for factor in (0.5, 2.0):
            worse = [a for a in auto if not a.startswith("noise.forces")] + [f"noise.forces={factor * level}"]
            other = gp.fit(frames, soap(), gp.DotPower(2), settings=settings(f"model.method={method}", *worse))
            assert other.log_marginal_likelihood < best.log_marginal_likelihood + 1.0


def test_further_searches_from_drawn_places_end_no_lower(frames):
    options = ["model.method=exact", "train.objective=evidence", *AUTO]
    one = gp.fit(frames, soap(), gp.DotPower(2), settings=settings(*options))
    seen = []
    more = gp.fit(
        frames, soap(), gp.DotPower(2), settings=settings(*options, "train.restarts=2"),
        callback=lambda stage, done, total: seen.append(total) if stage == "levels" else None,
    )  # fmt: skip
    assert set(seen) == {3 * STEPS}
    # The weak prior on levels is no part of this number.
    assert more.log_marginal_likelihood > one.log_marginal_likelihood - 0.5
    assert more.summary()["settings"]["train"]["restarts"] == 2


@pytest.mark.parametrize("method", ["exact", "sparse"])
def test_levels_learned_by_leaving_structures_out(frames, method):
    options = ["model.n_inducing=12"] if method == "sparse" else []
    potential = gp.fit(
        frames, soap(), gp.DotPower(2), settings=settings(f"model.method={method}", *options, *AUTO)
    )
    noise, found = potential.noise, {c["key"]: c["value"] for c in potential.summary()["choices"]}
    for name in ("energy", "forces", "stress"):
        assert getattr(noise, name) == found[f"noise.{name}"] > 0
        assert noise.predicted(name, 1) == found[f"noise.aleatoric_{name}"] > 0
    assert found["kernel.variance"] > 0


def test_with_few_structures_the_evidence_decides_and_energies_follow_forces(frames):
    potential = gp.fit(frames[:3], soap(), gp.DotPower(2), settings=settings("model.method=exact", *AUTO))
    reasons = {c["key"]: c["reason"] for c in potential.summary()["choices"]}
    assert "too few to leave out" in reasons["noise.forces"]
    assert potential.noise.energy == pytest.approx(0.03 * potential.noise.forces)


def test_the_scale_of_all_levels_moves_no_prediction(frames):
    """Variance and noise times one factor: the same means, epistemic spreads times its root."""
    chosen = ["model.method=sparse", "model.n_inducing=12"]
    plain = ["kernel.variance=1.0", "noise.energy=0.01", "noise.forces=0.1", "noise.stress=0.01"]
    scaled = ["kernel.variance=4.0", "noise.energy=0.02", "noise.forces=0.2", "noise.stress=0.02"]
    a, b = (
        gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings(*chosen, *levels)).predict(
            frames[7], uncertainty=True
        )
        for levels in (plain, scaled)
    )
    np.testing.assert_allclose(b.forces, a.forces, atol=1e-9)
    np.testing.assert_allclose(b.forces_epistemic_std, 2.0 * a.forces_epistemic_std, rtol=1e-6)


@pytest.mark.parametrize("method", ["exact", "sparse"])
def test_the_resolved_settings_reproduce_the_fit_bit_for_bit(frames, method):
    shape = ["descriptor.n_max=3", "descriptor.l_max=2", "descriptor.cutoff=3.5"]
    chosen = gp.load_settings(None, [f"model.method={method}", *shape])
    one = gp.fit(frames, settings=chosen)
    resolved = Settings.model_validate(one.summary()["settings"])
    assert "auto" not in {v for v in resolved.noise.model_dump().values() if isinstance(v, str)}
    two = gp.fit(frames, settings=resolved)
    a, b = one.predict(frames[0], uncertainty=True), two.predict(frames[0], uncertainty=True)
    for name in ("energy", "forces", "stress", "energy_std", "forces_std", "stress_std"):
        np.testing.assert_array_equal(getattr(b, name), getattr(a, name))


def test_an_exact_fit_tells_of_which_structures_levels_were_learned(frames, monkeypatch):
    from gpjaxpot.potential import exact_fit

    def reason() -> str:
        fitted = gp.fit(frames, soap(), gp.DotPower(2), settings=settings("model.method=exact", *AUTO))
        return {c["key"]: c["reason"] for c in fitted.summary()["choices"]}["noise.forces"]

    assert "structures:" not in reason()
    monkeypatch.setattr(exact_fit, "LEARNED_ON", 80)  # eight structures have 19 labels each
    assert "of 4 of 8 structures: 80 labels" in reason()


def test_a_structure_whose_labels_are_wrong_is_told():
    frames = labelled(16)
    wrong = gp.Labels(frames[2].labels.energy, frames[2].labels.forces * -10.0)
    mixed = [gp.Frame(f.structure, wrong if i == 2 else f.labels, source=f.source) for i, f in enumerate(frames)]
    chosen = settings("model.method=exact", *AUTO)
    (told,) = gp.fit(mixed, soap(), gp.DotPower(2), settings=chosen).summary()["suspects"]
    assert told["structure"] == "frame 2"
    clean = gp.fit(frames, soap(), gp.DotPower(2), settings=chosen)
    assert clean.summary()["suspects"] == []


def test_the_number_of_inducing_environments_grows_while_it_pays(frames, monkeypatch):
    from gpjaxpot.potential import budget, growth

    monkeypatch.setattr(budget, "_default_inducing", lambda atoms: 4)
    levels = ["noise.energy=0.01", "noise.forces=0.05", "noise.stress=0.01"]
    chosen = settings("model.method=sparse", *levels)
    grown = gp.fit(frames, soap(), gp.DotPower(2), settings=chosen)
    reason = {c["key"]: c["reason"] for c in grown.summary()["choices"]}["model.n_inducing"]
    assert grown.summary()["n_inducing"] > 4, reason
    monkeypatch.setattr(growth, "LEAST_GAIN", 100.0)
    small = gp.fit(frames, soap(), gp.DotPower(2), settings=chosen)
    assert small.summary()["n_inducing"] == 4
    reason = {c["key"]: c["reason"] for c in small.summary()["choices"]}["model.n_inducing"]
    assert "half as many" in reason


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
        ("noise.energy=-0.1", "noise.energy: .*greater than 0"),
        ("noise.aleatoric_forces=0", "noise.aleatoric_forces: .*greater than 0"),
        ("descriptor.n_max=0", "n_max: .*greater than or equal to 1"),
        ("descriptor.radial_scale=some", "radial_scale: .*'none'"),
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
    from gpjaxpot.potential.fitted_levels import initial_noise

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


def test_a_fit_of_given_size_keeps_no_derivatives_and_its_estimate_counts_none(frames):
    """Every batch is asked for once."""
    given = ["model.method=sparse", "model.n_inducing=12", "model.refine=false"]
    once = estimate(frames, settings(*given))
    again = estimate(frames, settings(given[0], given[2]))
    assert once.spare_bytes == 0 < again.spare_bytes
    assert once.memory_bytes < again.memory_bytes
