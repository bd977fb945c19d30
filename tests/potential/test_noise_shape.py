"""Exponent of the energies' noise and factors of groups: found in drawn errors, kept by a fit, its config, its file."""

import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.gp.left_out import PADDING, LeftOut
from gpjaxpot.gp.noise import INDEPENDENT, SHARED, Noise
from gpjaxpot.potential.held_out import Judged
from gpjaxpot.potential.noise_shape import shape_noise
from tests.potential.conftest import labelled, soap

LEVELS = ("energy", "forces")
NOISE = Noise(None, None, None)


def frames_of(sizes, groups):
    """Frames of atoms in a row, with an energy each."""
    made = []
    for n, group in zip(sizes, groups, strict=True):
        structure = gp.Structure(3.0 * np.arange(3 * n).reshape(n, 3), [14] * n)
        made.append(gp.Frame(structure, gp.Labels(-1.0 * n, np.zeros((n, 3))), group=group))
    return made


def drawn(sizes, energies, forces, noise, seed=0):
    """Errors of an energy and of 3 N forces of each structure, of the given σ; hardly any epistemic part."""
    rng = np.random.default_rng(seed)
    width = 1 + 3 * max(sizes)
    error, unit = np.zeros((len(sizes), width)), np.ones((len(sizes), width))
    kind = np.full((len(sizes), width), PADDING)
    for row, n in enumerate(sizes):
        used = 1 + 3 * n
        kind[row, :used] = np.r_[0, np.ones(3 * n)]
        unit[row, 0] = float(n) ** noise.energy_exponent
        error[row, :used] = rng.normal(size=used) * np.r_[energies[row], np.full(3 * n, forces[row])]
    left = LeftOut(error, error, np.where(kind == PADDING, 0.0, 1e-10), unit, kind)
    return Judged(left, range(len(sizes)), {}, {})


def asked(settings=()):
    return gp.load_settings(None, list(settings)).noise


@pytest.mark.parametrize(("power", "expected"), [(0.5, INDEPENDENT), (1.0, SHARED)])
def test_the_exponent_of_drawn_errors_is_found(power, expected):
    sizes = np.tile([2, 4, 8, 16, 32], 8)
    frames = frames_of(sizes, ["a"] * len(sizes))

    def judge(noise, before):
        return drawn(sizes, 0.01 * sizes**power, np.full(len(sizes), 0.05), noise)

    noise, choices = shape_noise(frames, NOISE, asked(), LEVELS, 900.0, judge)
    assert noise.energy_exponent == expected
    assert [c.key for c in choices] == ["noise.energy_exponent"]
    assert choices[0].value == expected


def test_nothing_is_asked_where_the_data_cannot_tell():
    def judge(noise, before):
        raise AssertionError("no model is needed")

    same = frames_of([4] * 20, ["a"] * 20)
    noise, choices = shape_noise(same, NOISE, asked(), LEVELS, 900.0, judge)
    assert noise.energy_exponent == INDEPENDENT
    assert "usual" in choices[0].reason
    mixed = frames_of([4, 8] * 10, ["a", "b"] * 10)
    given = asked(["noise.energy_exponent=0.7", "noise.by_group=false"])
    assert shape_noise(mixed, NOISE, given, LEVELS, 900.0, judge) == (NOISE, [])
    noise, choices = shape_noise(mixed, NOISE, asked(), LEVELS, 60.0, judge)
    assert noise == NOISE
    assert "no time" in choices[0].reason
    fixed = asked(["noise.energy=0.01", "noise.forces=0.1", "noise.stress=0.1", "noise.by_group=true"])
    assert shape_noise(mixed, NOISE, fixed, (), 900.0, judge)[0] == NOISE


def test_energies_of_known_noise_have_no_exponent():
    """Each with a σ of its own: nothing is under the level, and nothing is asked of it."""
    frames = []
    for k, n in enumerate([1, 4] * 10):
        labels = labelled(1, n=n, seed=k, stress=False)[0].labels
        own = gp.Labels(labels.energy, labels.forces, energy_sigma=0.01)
        frames.append(gp.Frame(labelled(1, n=n, seed=k)[0].structure, own, group="ab"[k % 2]))
    for options in (["model.method=sparse", "model.n_inducing=10"], ["model.method=exact", "train.energies=false"]):
        potential = gp.fit(frames, soap(), gp.DotPower(2), settings=gp.load_settings(None, options))
        chosen = {c["key"]: c for c in potential.record["choices"]}
        assert chosen["noise.energy_exponent"]["value"] == INDEPENDENT
        assert "the data do not tell" in chosen["noise.energy_exponent"]["reason"]


@pytest.mark.parametrize("helps", [True, False])
def test_a_noisy_group_weighs_less_if_that_helps(helps):
    """Forces of the hot group err four times as much; with factors all others are predicted better, or worse."""
    sizes, groups = [6] * 30, ["cold", "hot"] * 15
    frames = frames_of(sizes, groups)
    forces = np.where(np.array(groups) == "hot", 0.4, 0.1)

    def judge(noise, before):
        changed = (0.9 if helps else 1.1) if noise.factors else 1.0
        return drawn(sizes, np.full(30, 0.01), changed * forces, noise)

    noise, choices = shape_noise(frames, NOISE, asked(), LEVELS, 900.0, judge)
    if not helps:
        assert noise.factors == ()
        assert choices[-1].key == "noise.by_group"
        assert choices[-1].value is False
        return
    found = dict(noise.factors)
    hot, cold = (dict(found[g])["forces"] for g in ("hot", "cold"))
    assert 3.2 < hot / cold < 4.0  # the prior draws it towards 1
    assert 0.7 < dict(found["hot"])["energy"] < 1.4
    assert noise.sigma("forces", frames[1]) == (pytest.approx(hot), False)
    assert noise.relative("forces", 6) == 1.0  # a prediction is of no group
    assert choices[-1].value["hot"]["forces_factor"] == hot


def test_a_level_of_its_own_is_not_multiplied():
    noise = Noise(None, 0.1, None, groups=(("hot", (("forces", 0.7),)),), factors=(("hot", (("forces", 3.0),)),))
    hot = frames_of([2], ["hot"])[0]
    assert noise.sigma("forces", hot) == (0.7, True)
    other = Noise(None, 0.1, None, factors=(("hot", (("forces", 3.0),)),))
    assert other.sigma("forces", hot) == (pytest.approx(0.3), True)


@pytest.mark.parametrize("method", ["exact", "sparse"])
def test_a_fit_keeps_what_was_found(method, tmp_path):
    """Energies with an error shared by all atoms; settings as resolved give the same potential, so does its file."""
    frames = []
    for k, n in enumerate([1, 4] * 14):
        frame = labelled(1, n=n, seed=k, stress=False)[0]
        energy = float(frame.labels.energy or 0.0) + 0.1 * n * (-1) ** (k // 2)
        frames.append(gp.Frame(frame.structure, gp.Labels(energy, frame.labels.forces), group="ab"[k % 2]))
    frames.append(gp.Frame(gp.Structure(np.zeros((1, 3)), [14]), gp.Labels(0.0), group="isolated_atom"))
    options = [f"model.method={method}", "noise.groups.a.forces_factor=2.0"]
    options += ["model.n_inducing=20"] * (method == "sparse")
    potential = gp.fit(frames, soap(), gp.DotPower(2), settings=gp.load_settings(None, options))
    choice = next(c for c in potential.record["choices"] if c["key"] == "noise.energy_exponent")
    assert choice["value"] == potential.noise.energy_exponent == SHARED
    assert potential.noise.factors == (("a", (("forces", 2.0),)),)
    if method == "exact":
        return
    again = gp.fit(frames, soap(), gp.DotPower(2), settings=gp.Settings.model_validate(potential.record["settings"]))
    test = labelled(1, seed=99)[0]
    assert again.predict(test).energy == potential.predict(test).energy
    potential.save(tmp_path / "model.gpjax")
    loaded = gp.Potential.load(tmp_path / "model.gpjax")
    assert loaded.noise == potential.noise
    one, two = (p.predict(test, uncertainty=True) for p in (potential, loaded))
    assert one.energy_aleatoric_std == two.energy_aleatoric_std
