"""The linter speaks about settings that were given and do not suit the data, and about no others."""

import pytest

from gpjaxpot.datasets import lithium, silicon
from gpjaxpot.potential.linter import lint
from gpjaxpot.potential.settings import Settings
from gpjaxpot.structures.labels import Frame, Labels


@pytest.fixture(scope="module")
def frames():
    return silicon()[0]


def codes(frames, **settings):
    """Return the codes of all findings about these settings."""
    return {f.code for f in lint(Settings.model_validate(settings), frames)}


@pytest.mark.parametrize("data", [silicon, lithium])
def test_defaults_are_not_spoken_about(data):
    assert lint(Settings(), data()[0]) == []
    assert lint(Settings(), []) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"descriptor": [{"cutoff": 5.4, "n_max": 8, "l_max": 8, "sigma": 0.5}]},
        {"noise": {"energy": 0.01, "forces": 0.05, "stress": 0.001}},
        {"noise": {"energy": 0.003, "energy_exponent": 1.0, "groups": {"Vacancy": {"energy": 0.1}}}},
        {"kernel": {"zeta": 2}, "model": {"method": "sparse", "n_inducing": 1000}},
        {"noise": {"energy": "auto", "forces": "auto"}, "train": {"stress": False}},
        {"energy_per_species": {"Si": -0.8}},
    ],
)
def test_sensible_settings_pass(frames, settings):
    assert codes(frames, **settings) == set()


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"noise": {"energy": 1e-4, "energy_exponent": 1.0}}, "energy-sigma-low", "0.1 meV/atom"),
        ({"noise": {"energy": 50.0}}, "energy-sigma-high", "hardly be learned"),
        ({"noise": {"forces": 1e-4}}, "forces-sigma-low", "0.0001 eV/Å"),
        ({"noise": {"forces": 30.0}}, "forces-sigma-high", "hardly be learned"),
        ({"noise": {"stress": 1e-7}}, "stress-sigma-low", "eV/Å³"),
        ({"noise": {"stress": 5.0}}, "stress-sigma-high", "eV/Å³"),
        ({"noise": {"groups": {"Surfaces": {"energy": 0.1}}}}, "no-such-group", "did you mean 'Surface'"),
        ({"noise": {"isolated_energy": 1e-3}}, "no-effect", "no isolated atoms"),
        ({"descriptor": [{"cutoff": 2.4}]}, "cutoff-short", "does not reach"),
        ({"descriptor": [{"cutoff": 10.0}]}, "cutoff-long", "neighbours"),
        ({"descriptor": [{"sigma": 1.2}]}, "sigma-wide", "smears out"),
        ({"descriptor": [{"cutoff": 6.0, "sigma": 0.2, "n_max": 8}]}, "sigma-sharp", "n_max = 18"),
        ({"descriptor": [{"radial_exponent": 2.0, "radial_scale": "none"}]}, "no-effect", "radial_scale"),
        ({"kernel": {"length_scale": 0.5}}, "no-effect", "length_scale"),
        ({"kernel": {"type": "matern52", "zeta": 2}}, "no-effect", "zeta"),
        ({"model": {"n_inducing": 100000}}, "inducing-many", "100000"),
        ({"train": {"energies": False, "forces": False, "stress": False}}, "nothing-to-train-on", "switch on"),
        ({"train": {"forces": False}}, "forces-unused", "fly apart"),
        ({"energy_per_species": {"Ge": -1.0}}, "species-left-out", "Si"),
        ({"energy_per_species": {"Si": -289.0}}, "species-energy-far", "eV/atom"),
    ],
)
def test_doubtful_settings_are_told(frames, settings, code, words):
    findings = lint(Settings.model_validate(settings), frames)
    assert [f.code for f in findings] == [code]
    assert words in f"{findings[0].message} {findings[0].remedy}"
    assert findings[0].remedy


def test_the_number_of_structures_counts(frames):
    """A σ that a hundred structures support is too small for four."""
    noise = {"energy": 0.0015, "energy_exponent": 1.0}
    assert codes(frames, noise=noise) == set()
    assert "energy-sigma-low" in codes(frames[::10], noise=noise)


def test_an_exact_model_of_many_labels(frames):
    assert "exact-large" in codes(frames * 3, model={"method": "exact"})
    assert "exact-large" not in codes(frames[:3], model={"method": "exact"})


def test_stress_asked_for_without_any(frames):
    bare = [Frame(f.structure, Labels(f.labels.energy, f.labels.forces)) for f in frames]
    assert codes(bare, train={"stress": True}) == {"no-such-label"}
    assert codes(bare) == set()
