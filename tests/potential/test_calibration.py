"""Calibrations of a potential: what they are found on, what they change and what not, and their way to a file."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
import scipy
from numpy.testing import assert_allclose

import gpjaxpot as gp
from gpjaxpot.potential import calibrate as calibrate_module
from gpjaxpot.potential import fit_calibration
from gpjaxpot.potential.calibrate import calibrate_known
from gpjaxpot.potential.calibration import root_spread
from gpjaxpot.potential.compared import Compared, Known, compare
from gpjaxpot.potential.fit_calibration import keep_out
from gpjaxpot.potential.force_scores import ForceScores
from tests.potential.conftest import labelled, settings, soap

REFERENCE = "energy_per_species.Si=-0.3"


def test_structures_left_out_are_predicted_as_by_a_fit_without_them(frames, monkeypatch):
    """The closed forms against refits: errors, spreads and the covariances of forces, exact and sparse."""
    caught = []
    original = fit_calibration.calibrate_known

    def catch(known, *more):
        caught.append(known)
        return original(known, *more)

    monkeypatch.setattr(fit_calibration, "calibrate_known", catch)
    # With this kernel 24 environments span all features: the sparse posterior is the exact one.
    for method in (["model.method=exact"], ["model.method=sparse", "model.n_inducing=24", "model.selection=farthest"]):
        chosen = settings(*method, REFERENCE, "calibration.method=scale", "model.features=all")
        gp.fit(frames[:6], soap(), gp.DotPower(1), settings=chosen)
    alone = settings("model.method=exact", REFERENCE, "calibration.method=none")
    # Sparse models take theirs in another order.
    places = [{k.compared.energy_error: k for k in known} for known in caught]
    for i in range(6):
        without = gp.fit(frames[:i] + frames[i + 1 : 6], soap(), gp.DotPower(1), settings=alone)
        found = without.predict(frames[i].structure, uncertainty=True, covariance=True)
        energy = (frames[i].labels.energy - found.energy) / len(frames[i].structure)
        for kind in places:
            k = kind[min(kind, key=lambda e, energy=energy: abs(e - energy))].compared
            close = {"rtol": 1e-4, "atol": 1e-6}
            assert_allclose(k.energy_error, energy, **close)
            assert_allclose(k.energy_std * k.n_atoms, found.energy_std, **close)
            assert_allclose(k.forces_error, frames[i].labels.forces - found.forces, **close)
            assert_allclose(k.forces_std, found.forces_std, **close)
            assert_allclose(k.stress_error, frames[i].labels.stress - found.stress, **close)
            assert_allclose(k.stress_std, found.stress_std, **close)
            noise = found.forces_aleatoric_std[:, :, None] ** 2 * np.eye(3)
            # Atoms of whose force a direction is certain have no ellipsoid.
            solid = np.trace(k.forces_covariance, axis1=1, axis2=2) > 0
            assert_allclose(k.forces_covariance[solid], (found.forces_covariance + noise)[solid], **close)
            assert solid.any()


def made_up(count, atoms=20, wrong=lambda vectors: 2.0, size=18, seed=0, species=(14,)):
    """Structures whose force errors are `wrong` times their σ, as a function of the environments."""
    generator = np.random.default_rng(seed)
    known = []
    for _ in range(count):
        vectors = generator.normal(size=(atoms, size)) * np.geomspace(1.0, 0.01, size)
        spread = np.exp(0.3 * generator.normal(size=(atoms, 1)))
        root = spread[:, :, None] * (np.eye(3) + 0.2 * generator.normal(size=(atoms, 3, 3)))
        covariance = root @ np.swapaxes(root, 1, 2)
        factor = np.broadcast_to(wrong(vectors), atoms)[:, None]
        forces = factor * np.einsum("aij,aj->ai", root, generator.normal(size=(atoms, 3)))
        std = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        compared = Compared(
            None, False, atoms, 0.02 * generator.normal(), forces, None, 0.01, std, None, covariance
        )
        known.append(Known(compared, np.resize(species, atoms), vectors))
    return known


def varying(vectors):
    """What errors are too large by: told from the first component of an environment."""
    return np.exp(0.8 * vectors[:, 0])


@pytest.mark.parametrize("method", ["scale", "conformal", "class", "flexible"])
def test_shares_of_new_errors_are_those_of_the_level(method):
    made = calibrate_known(made_up(60, wrong=varying), method)
    new = made_up(100, wrong=varying, seed=1)
    inside, components, energies, top = [], [], [], []
    for k in new:
        factor, _ = made.environments(k.vectors, k.numbers, root_spread(k.compared.forces_std))
        whitened = np.linalg.solve(np.linalg.cholesky(k.compared.forces_covariance), k.compared.forces_error[..., None])
        lengths = np.linalg.norm(whitened[..., 0], axis=1) / factor
        inside.append(lengths <= made.quantiles["force_vectors"].width(0.9))
        z = np.abs(k.compared.forces_error / (k.compared.forces_std * factor[:, None]))
        components.append(z <= made.quantiles["forces"].width(0.9))
        top.append(inside[-1][k.vectors[:, 0] > 1.0])
        energies.append(abs(k.compared.energy_error / k.compared.energy_std) <= made.quantiles["energy"].width(0.9))
    shares = [float(np.mean(np.concatenate(s))) for s in (inside, components, top)]
    tolerance = 0.05 if method == "scale" else 0.03
    assert_allclose(shares[:2], 0.9, atol=tolerance)
    # Where errors are largest, one number for all is not enough.
    if method != "class":  # there are no classes here
        assert (abs(shares[2] - 0.9) < 0.08) == (method == "flexible")
    assert abs(np.mean(energies) - 0.9) < 4 * np.sqrt(0.09 / 60 + 0.09 / 100)
    assert made.record["method"] == method
    json.dumps(made.record, allow_nan=False)


def planar(known):
    """The structures with every other atom on a mirror plane: its force along x is certain, and 0."""
    made = []
    for k in known:
        c = k.compared
        error, std, covariance = (np.array(a) for a in (c.forces_error, c.forces_std, c.forces_covariance))
        covariance[::2] = 0.0  # as `compare` has it of such atoms
        error[::2, 0], std[::2, 0] = 0.0, 0.0
        made.append(replace(k, compared=replace(c, forces_error=error, forces_std=std, forces_covariance=covariance)))
    return made


def test_atoms_with_a_certain_direction_are_learned_from_as_the_others_are():
    """They differ from the others in what they are wrong by, which nothing else tells."""

    def wrong(vectors):
        return np.where(np.arange(len(vectors)) % 2 == 0, 4.0, 1.0) * np.exp(0.3 * vectors[:, 0])

    def marked(known):
        return [replace(k, stored=k.vectors + np.where(np.arange(20) % 2 == 0, 3.0, -3.0)[:, None]) for k in known]

    made = calibrate_known(planar(marked(made_up(60, wrong=wrong))), "flexible")
    for start in (0, 1):
        z = []
        for k in planar(marked(made_up(100, wrong=wrong, seed=1))):
            factor, _ = made.environments(k.vectors, k.numbers, root_spread(k.compared.forces_std))
            own = k.compared.forces_std[start::2]
            errors = np.abs(k.compared.forces_error[start::2]) / np.where(own > 0, own * factor[start::2, None], np.nan)
            z.append(errors[own > 0])
        assert_allclose(np.mean(np.concatenate(z) <= made.quantiles["forces"].width(0.9)), 0.9, atol=0.06)


def test_lengths_of_fewer_directions_have_the_distribution_of_three():
    known = made_up(100, wrong=lambda vectors: 1.0)
    forces = ForceScores.of(planar(known))
    assert forces.solid.sum() == len(forces.errors) // 2
    np.testing.assert_array_equal(forces.lengths[forces.solid], ForceScores.of(known).lengths[1::2])
    for level in (0.3, 0.68, 0.9):
        # Components are correlated a little, which their own spreads do not say.
        share = np.mean(forces.lengths[~forces.solid] <= scipy.stats.chi.ppf(level, 3))
        assert_allclose(share, level, atol=0.04)


@pytest.mark.parametrize(
    ("epistemic", "noise", "certain"),
    [(2e-6, 1e-3, True), (2e-5, 1e-3, False), (2e-6, 1e-5, False), (1e-9, 1e-9, True), (2e-4, 0.1, False)],
)
def test_forces_of_atoms_that_files_put_a_little_off_their_sites_are_certain(epistemic, noise, certain):
    frame = labelled(1)[0]
    ones = np.ones((4, 3))
    prediction = gp.Prediction(
        energy=0.0, energies=np.zeros(4), forces=np.zeros((4, 3)), stress=None,
        forces_epistemic_std=epistemic * ones, forces_aleatoric_std=noise * ones,
        forces_covariance=np.broadcast_to(epistemic**2 * np.eye(3), (4, 3, 3)),
    )  # fmt: skip
    found = compare(frame, prediction)
    assert np.all((found.forces_std == 0) == certain)
    assert np.all((np.trace(found.forces_covariance, axis1=1, axis2=2) == 0) == certain)


def test_vectors_that_are_made_anew_calibrate_as_those_that_are_kept(sparse, frames, monkeypatch):
    """What many structures are calibrated by, on few: nothing kept, everything made when it is wanted."""
    many = labelled(30, seed=5)
    kept = gp.calibrate(sparse, many, "conformal")
    made = []
    again = calibrate_module._vectors
    monkeypatch.setattr(calibrate_module, "_vectors", lambda *a: made.append(again(*a)) or made[-1])
    monkeypatch.setattr(calibrate_module, "KEPT", 1)
    anew = gp.calibrate(sparse, many, "conformal")
    assert len(made) >= 2 * len(many)
    assert kept.calibration.novelty is not None
    a, b = (p.predict(frames[7], uncertainty=True) for p in (kept, anew))
    for name in ("energy_uncertainty", "forces_uncertainty", "stress_uncertainty"):
        assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-6, atol=1e-8)
    # Made in batches of other shapes, vectors differ in their last digits, and the mixture of so few in more.
    assert_allclose(b.novelty, a.novelty, rtol=1e-4, atol=1e-7)


def test_a_reduction_is_learned_from_so_many_numbers_at_most():
    known = made_up(200, atoms=10, wrong=varying, species=(14, 8))
    forces = ForceScores.of(known)
    assert forces.sample((8, 14)).shape == (2000, 20)
    some = forces.sample((8, 14), most=20 * 500)
    assert some.shape == (500, 20)
    for end, k in ((slice(10), known[0]), (slice(-10, None), known[-1])):
        np.testing.assert_array_equal(some[end, :18], k.vectors)
    assert len(forces.sample((8, 14), most=1)) == 10  # one structure there always is


def test_a_network_is_taken_where_it_tells_something_and_else_not():
    assert calibrate_known(made_up(40, wrong=varying)).record["method"] == "flexible"
    plain = calibrate_known(made_up(40))
    assert plain.record["method"] == "conformal"
    assert "changes the loss" in plain.record["reason"]
    assert_allclose(plain.quantiles["forces"].sigma, 2.0, rtol=0.06)
    assert calibrate_known(made_up(17)).record["method"] == "conformal"
    assert calibrate_known(made_up(8)).record["method"] == "scale"


def test_too_few_structures_are_told():
    with pytest.raises(gp.InputError, match="at least 5 structures with labels, got 4"):
        calibrate_known(made_up(4))
    with pytest.raises(gp.InputError, match="flexible calibration at level 0.6827 takes at least 20 structures"):
        calibrate_known(made_up(12), "flexible")
    with pytest.raises(gp.InputError, match="class calibration at level 0.99 takes at least 99 structures"):
        calibrate_known(made_up(30), "class", 0.99)
    with pytest.raises(gp.InputError, match="one of auto, scale"):
        calibrate_known(made_up(8), "regular")


@pytest.fixture(scope="module")
def raw(frames):
    """A potential without a calibration."""
    return gp.fit(
        frames[:6], soap(), gp.DotPower(2), settings=settings("model.method=exact", "calibration.method=none")
    )


@pytest.mark.parametrize("method", ["scale", "conformal", "class", "flexible"])
def test_files_keep_every_bit_and_means_and_raw_spreads_stay(raw, frames, tmp_path, method):
    potential = raw.with_calibration(calibrate_known(made_up(30, wrong=varying), method))
    potential.save(tmp_path / "m.safetensors")
    loaded = gp.Potential.load(tmp_path / "m.safetensors")
    assert loaded.summary() == potential.summary()
    assert loaded.summary()["calibration"]["method"] == method
    options = {"uncertainty": True, "covariance": True}
    before = raw.predict(frames[7].structure, **options)
    first, second = (p.predict(frames[7].structure, **options) for p in (potential, loaded))
    for name in ("energy", "forces", "stress"):
        for suffix in ("", "_std", "_epistemic_std"):
            # Spreads to round-off: threads add in any order.
            assert_allclose(getattr(first, name + suffix), getattr(before, name + suffix), rtol=1e-9)
        assert_allclose(getattr(second, name + "_uncertainty"), getattr(first, name + "_uncertainty"), rtol=1e-9)
        assert np.array_equal(getattr(before, name + "_uncertainty"), getattr(before, name + "_std"))
    assert_allclose(second.novelty, first.novelty, rtol=1e-9)
    assert first.calibrated("forces")
    assert not first.calibrated("stress")
    assert np.array_equal(first.stress_uncertainty, first.stress_std)
    assert np.all(first.forces_uncertainty != first.forces_std)
    assert_allclose(first.half_width("forces", 0.6827, raw=True), first.forces_std, rtol=1e-4)
    ours, theirs = first.force_ellipsoids(0.9)[0], second.force_ellipsoids(0.9)[0]
    assert ours.radius == theirs.radius
    assert ours.contains(first.forces[0])


def test_intervals_of_any_level_as_far_as_the_data_reach(raw, frames):
    potential = raw.with_calibration(calibrate_known(made_up(17), "conformal"))
    found = potential.predict(frames[7].structure, uncertainty=True)
    low, high = found.interval("energy", 0.9)
    assert low < found.energy < high
    assert np.all(found.half_width("forces", 0.9) > found.half_width("forces", 0.5))
    with pytest.raises(gp.InputError, match="levels up to 0.944, not 0.99"):
        found.interval("forces", 0.99)
    assert np.all(np.isfinite(found.interval("forces", 0.99, raw=True)[0]))
    with pytest.raises(gp.InputError, match="predict with covariance=True"):
        found.force_ellipsoids()
    with pytest.raises(gp.InputError, match="not of 'energies'"):
        found.interval("energies")
    with pytest.raises(gp.InputError, match="predict with uncertainty=True"):
        potential.predict(frames[7].structure).interval("energy")


def test_uncertainties_turn_with_the_structure(raw, frames):
    from scipy.spatial.transform import Rotation

    potential = raw.with_calibration(calibrate_known(made_up(30, wrong=varying), "flexible"))
    turn = Rotation.random(random_state=0).as_matrix()
    s = frames[7].structure
    turned = gp.Structure(s.positions @ turn.T, s.numbers, s.cell @ turn.T, s.pbc)
    before, after = (potential.predict(x, uncertainty=True, covariance=True) for x in (s, turned))
    assert_allclose(after.forces_factor, before.forces_factor, rtol=1e-8)
    assert_allclose(after.energy_uncertainty, before.energy_uncertainty, rtol=1e-8)
    for a, b in zip(before.force_ellipsoids(), after.force_ellipsoids(), strict=True):
        assert_allclose(b.volume, a.volume, rtol=1e-7)
        assert_allclose(b.covariance, turn @ a.covariance @ turn.T, rtol=1e-6, atol=1e-12)


def test_a_fit_with_few_structures_says_that_it_is_raw(frames):
    potential = gp.fit(frames[:4], soap(), gp.DotPower(2), settings=settings("model.method=exact"))
    assert potential.calibration is None
    assert potential.summary()["calibration"] is None
    choice = next(c for c in potential.summary()["choices"] if c["key"] == "calibration.method")
    assert choice["value"] == "none"
    assert "spreads are raw" in choice["reason"]


@pytest.mark.parametrize("sizes", [{"adatom": 210, "none": 70}, {"a": 126, "b": 48, "c": 126}, {None: 300}])
def test_each_group_has_its_share_of_the_structures_kept_out(sizes: dict[str | None, int]):
    groups = [name for name, count in sizes.items() for _ in range(count)]
    kept = keep_out(groups, 0.3)
    assert len(set(kept)) == len(kept)
    for name, count in sizes.items():
        share = np.mean([groups[i] == name for i in kept])
        # A run of ten at the most is dealt whole.
        assert abs(share - count / len(groups)) < 10 / (0.3 * len(groups))


def test_groups_too_small_for_a_run_are_kept_out_together():
    assert len(keep_out([f"structure {i}" for i in range(40)], 0.25)) == 10
    mixed = ["bulk"] * 60 + [f"structure {i}" for i in range(20)]
    kept = keep_out(mixed, 0.25)
    # A quarter each, in runs of two.
    assert abs(sum(i < 60 for i in kept) - 15) <= 1
    assert abs(sum(i >= 60 for i in kept) - 5) <= 1


def test_a_fit_keeps_out_of_each_group_its_share():
    frames = [replace(f, group="first" if i < 16 else "second") for i, f in enumerate(labelled(24, seed=3))]
    chosen = settings("model.method=exact", "calibration.fraction=0.5")
    potential = gp.fit(frames, soap(), gp.DotPower(2), settings=chosen)
    kept = keep_out([f.group for f in frames], 0.5)
    assert sum(i < 16 for i in kept) == 8
    assert len(kept) == 12
    rest = [f for i, f in enumerate(frames) if i not in kept]
    plain = gp.fit(rest, soap(), gp.DotPower(2), settings=settings("model.method=exact", "calibration.method=none"))
    ours, theirs = (p.predict(frames[0].structure).energy for p in (potential, plain))
    assert ours == theirs


def test_structures_kept_out_calibrate_and_are_not_fitted():
    frames = labelled(24, seed=3)
    chosen = settings("model.method=exact", "calibration.fraction=0.5")
    potential = gp.fit(frames, soap(), gp.DotPower(2), settings=chosen)
    record = potential.summary()
    assert record["n_structures"] + record["calibration"]["n_structures"] == 24
    assert "kept out of the fit" in record["calibration"]["source"]
    assert record["settings"]["calibration"]["fraction"] == 0.5
    again = gp.fit(frames, soap(), gp.DotPower(2), settings=gp.Settings.model_validate(record["settings"]))
    first, second = (p.predict(frames[0].structure, uncertainty=True) for p in (potential, again))
    assert first.energy_uncertainty == second.energy_uncertainty


def test_calibrating_again_replaces_what_was_there(raw):
    frames = labelled(12, seed=5)
    once = gp.calibrate(raw, frames[:6], "scale", source="six")
    again = gp.calibrate(once, frames, "scale", source="twelve")
    assert again.summary()["calibration"]["source"] == "twelve"
    assert again.summary()["calibration"]["n_structures"] == 12
    assert raw.calibration is None
    # A scale makes the squares of these errors in units of σ one on average.
    scores = gp.evaluate(again, frames)["uncertainty"]
    assert_allclose(scores["forces"]["z_variance"], 1.0, rtol=1e-6)
    assert_allclose(scores["energy"]["z_variance"], 1.0, rtol=1e-6)


def test_the_same_seed_gives_the_same_calibration():
    first, second = (calibrate_known(made_up(24, wrong=varying), "flexible", seed=4) for _ in range(2))
    leaves = [jax.tree.leaves(c) for c in (first, second)]
    assert all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


def flat(count, seed=0):
    """Structures of planar molecules: no force is uncertain out of the plane, and no ellipsoid has a volume."""
    known = made_up(count, atoms=6, seed=seed)
    for k in known:
        k.compared.forces_error[:, 2] = 0.0
        k.compared.forces_std[:, 2] = 0.0
        k.compared.forces_covariance[:] = 0.0
    return known


def test_forces_of_planar_molecules_are_calibrated_by_their_components():
    made = calibrate_known(flat(30))
    assert "force_vectors" not in made.quantiles
    assert_allclose(made.quantiles["forces"].sigma, 2.0, rtol=0.15)
    assert "too few for more" in made.record["reason"]


def test_order_statistics_are_taken_where_they_are_asked_for_and_else_a_scale_of_few():
    asked = calibrate_known(made_up(8), "conformal")
    assert asked.record["method"] == "conformal"
    assert asked.quantiles["energy"].limit == pytest.approx(8 / 9)
    few = calibrate_known(made_up(8))
    assert few.record["method"] == "scale"
    assert few.quantiles["energy"].supports(0.99)
    assert few.record["level"] is None


def test_noise_alone_is_seldom_taken_for_a_function_of_the_environment():
    """Errors that differ by structure, not by environment: a network that was looked at would seem to know them."""
    taken = 0
    for seed in range(6):
        known = made_up(25, atoms=16, wrong=lambda _: np.ones(16), seed=10 + seed)
        generator = np.random.default_rng(seed)
        for k in known:
            k.compared.forces_error[:] *= np.exp(0.5 * generator.normal())
        taken += calibrate_known(known, seed=seed).record["method"] == "flexible"
    assert taken <= 1


def test_there_are_as_many_classes_as_the_errors_show():
    """One, or two by chance, where all environments err alike; several where errors grow along the first direction."""
    for wrong, least, most in ((lambda _: 2.0, 1, 2), (lambda v: np.exp(1.5 * np.tanh(v[:, 0])), 4, 32)):
        made = calibrate_known(made_up(40, wrong=wrong), "class")
        assert least <= len(made.factor.by.classes.shares) <= most


def test_atoms_of_another_species_are_new_and_not_more_certain():
    made = calibrate_known(made_up(30, wrong=lambda _: np.full(20, 0.3), species=(14, 8)), "flexible")
    k = made_up(1, seed=3, species=(14, 8))[0]
    spread = root_spread(k.compared.forces_std)
    factors, novelty = made.environments(k.vectors, np.where(k.numbers == 8, 7, k.numbers), spread)
    assert np.all(factors[k.numbers == 14] < 1)
    assert np.all(factors[k.numbers == 8] >= 1)
    assert np.all(novelty[k.numbers == 8] >= 2)


def test_a_structure_of_another_composition_is_new_though_each_of_its_environments_is_usual():
    known = made_up(40, species=(14, 8))
    made = calibrate_known(known, "conformal")
    k = known[7]
    spread, only = root_spread(k.compared.forces_std), np.flatnonzero(k.numbers == 14)
    part = k.vectors[only], k.numbers[only], spread[only]
    assert np.max(made.environments(k.vectors, k.numbers, spread)[1]) < 1
    assert np.all(made.environments(*part)[1] > 1)
    assert np.max(replace(made, remoteness=None).environments(*part)[1]) < 1


def test_a_fit_is_not_lost_where_a_calibration_cannot_be(monkeypatch, frames):
    def fails(*_):
        raise np.linalg.LinAlgError("no")

    monkeypatch.setattr(fit_calibration, "calibrate_known", fails)
    potential = gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings("model.method=exact"))
    assert potential.calibration is None
    assert "spreads are raw" in potential.summary()["choices"][-1]["reason"]


def test_what_cannot_be_calibrated_is_refused_before_any_work(frames):
    for override, message in (
        ("calibration.method=flexible", "takes at least 20 structures"),
        ("calibration.fraction=0.3", "a calibration takes at least 5"),
    ):
        with pytest.raises(gp.InputError, match=message):
            gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings("model.method=exact", override))
    with pytest.raises(gp.InputError, match="calibration.fraction"):
        gp.fit(frames, soap(), gp.DotPower(2), settings=settings("hyper.method=laplace", "calibration.method=scale"))
