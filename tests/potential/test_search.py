"""The evidence reaches through the descriptors: its gradient equals finite differences, its value the plain formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.covariance.rows import as_numpy, inducing_rows
from gpjaxpot.gp.noise import Noise
from gpjaxpot.potential import search
from gpjaxpot.potential.learned_kernel import learn_kernel
from gpjaxpot.potential.search import JITTER, draw, inducing_environments, sample_evidence, with_values
from gpjaxpot.potential.training import collect
from gpjaxpot.structures.batch import collate, neighbourhood
from gpjaxpot.structures.reference import fit_reference
from tests.potential.conftest import labelled, settings, soap

SPECIES = (14, 32)
LEVELS = {"energy": jnp.asarray(0.05), "forces": jnp.asarray(0.2), "variance": jnp.asarray(0.7)}
VALUES = {
    "0.cutoff": 3.4, "0.sigma": 0.5, "0.radial_scale": 2.0, "0.radial_exponent": 3.5, "1.sigma": 0.7, "1.weight": 0.3,
    "similarity": 0.4,
}  # fmt: skip


@pytest.fixture(scope="module")
def made():
    """Two species and two descriptors; eight structures, of which a few are sampled."""
    frames = labelled(8, species=SPECIES)
    first = soap(radial_scale=2.0).with_species(SPECIES)
    second = soap(cutoff=3.0, sigma=0.7).with_species(SPECIES)
    kernel = gp.EnergyKernel((gp.Term(first, gp.DotPower(4)), gp.Term(second, gp.DotPower(1))))
    data = collect(frames, fit_reference(frames), Noise(None, None, None), (True, True, False))
    patch = pytest.MonkeyPatch()
    patch.setattr(search, "BATCH_ATOMS", 8)  # two structures a batch
    found = [neighbourhood(f.structure, SPECIES, 3.6) for f in frames]
    sample = draw(kernel, found, data, 16)
    patch.undo()
    return kernel, frames, data, found, sample


def arrays(values):
    return {name: jnp.asarray(value) for name, value in values.items()}


@pytest.fixture(scope="module")
def gradient(made):
    kernel, *_, sample = made
    compiled = jax.jit(
        jax.value_and_grad(lambda x: sample_evidence(with_values(kernel, x), sample, LEVELS))
    )
    return compiled, compiled(arrays(VALUES))


@pytest.mark.parametrize("name", list(VALUES))
def test_gradient_equals_finite_differences(gradient, name):
    compiled, (_, slopes) = gradient
    h = 1e-4 * VALUES[name]
    ahead, behind = (compiled(arrays(VALUES | {name: VALUES[name] + s * h}))[0] for s in (1, -1))
    assert float(slopes[name]) == pytest.approx(float(ahead - behind) / (2 * h), rel=2e-4, abs=1e-5)
    assert abs(float(slopes[name])) > 1e-3


def test_value_equals_the_dense_formula(made, gradient):
    """Log N(y; 0, Q + noise), from rows of the structures one by one."""
    kernel, frames, data, found, sample = made
    whole = with_values(kernel, arrays(VALUES))
    assert sample.energies.shape[0] > 1
    inducing = inducing_environments(whole, sample)
    gram = np.asarray(whole.gram(inducing.features, inducing.features, inducing.species, inducing.species))
    energies = np.asarray(sample.energies)[np.asarray(sample.energy_factor) > 0]
    used = [i for i, o in enumerate(data) if np.isclose(energies, o.targets[0], atol=1e-12).any()]
    assert len(data) > len(used) == len(energies) > 1
    rows, targets, noise = [], [], []
    for i in used:
        energy, forces, _ = as_numpy(inducing_rows(whole, collate([found[i]], 2), inducing))
        n = len(frames[i].structure)
        rows += [energy[:1], forces[:n].reshape(3 * n, -1)]
        targets.append(data[i].targets)
        noise.append(np.where(data[i].kind == 0, 0.05, 0.2) * data[i].sigma)
    k, y, s = np.concatenate(rows), np.concatenate(targets), np.concatenate(noise)
    gram = gram + JITTER * np.mean(np.diag(gram)) * np.eye(len(gram))
    dense = 0.7 * k @ np.linalg.solve(gram, k.T) + np.diag(s**2)
    expected = -0.5 * (y @ np.linalg.solve(dense, y) + np.linalg.slogdet(2 * np.pi * dense)[1])
    assert float(gradient[1][0]) == pytest.approx(expected, rel=1e-6)


def test_learning_raises_the_evidence_and_keeps_the_bounds(monkeypatch):
    from gpjaxpot.potential import choices, learned_kernel

    monkeypatch.setattr(learned_kernel, "LEAST_FORCES", 10)
    monkeypatch.setattr(learned_kernel, "ATOMS", (12, 24))
    monkeypatch.setattr(learned_kernel, "STEPS", 6)
    frames = labelled(8)
    chosen = settings("descriptor.n_max=3", "descriptor.l_max=2", "descriptor.cutoff=3.5")
    plain, usual, ranges = choices.choose_kernel(frames, chosen)
    kernel, made, searched = learn_kernel(frames, chosen, lambda *a: None)
    learned = {c.key: c.value for c in made}
    before = {c.key: c.value for c in usual}
    assert set(learned) == set(before)
    moved = [name for name in ranges if learned[f"descriptor.{name}"] != before[f"descriptor.{name}"]]
    assert set(moved) == {"0.sigma", "0.radial_scale", "0.radial_exponent"}
    for name in moved:
        assert ranges[name].low < learned[f"descriptor.{name}"] < ranges[name].high
    assert float(kernel.terms[0].descriptor.sigma) == learned["descriptor.0.sigma"]
    assert float(kernel.terms[0].descriptor.cutoff) == 3.5  # as it was given
    assert float(searched.usual.terms[0].descriptor.sigma) == before["descriptor.0.sigma"]
    assert {c.key for c in searched.choices} == {f"descriptor.{name}" for name in moved}
    assert all(c.value == before[c.key] for c in searched.choices)
    assert "highest evidence on" in {c.key: c.reason for c in made}["descriptor.0.sigma"]
    seeded = settings("descriptor.n_max=3", "descriptor.l_max=2", "descriptor.cutoff=3.5", "train.seed=5")
    again, *_ = learn_kernel(frames, seeded, lambda *a: None)  # the same whatever the seed
    assert float(again.terms[0].descriptor.sigma) == learned["descriptor.0.sigma"]


def test_molecules_have_settings_of_their_own_and_no_search(monkeypatch):
    from gpjaxpot.potential import choices, learned_kernel

    monkeypatch.setattr(learned_kernel, "LEAST_FORCES", 10)
    frames = labelled(3, species=(1, 14), periodic=False)
    assert not learned_kernel.searches(frames, gp.Settings())
    assert learned_kernel.searches(labelled(3, species=(1, 14)), gp.Settings())
    assert learned_kernel.searches(labelled(3, periodic=False), gp.Settings())  # a cluster without hydrogen
    kernel, made, _ = choices.choose_kernel(frames, gp.Settings())
    soap = kernel.terms[0].descriptor
    assert (float(soap.cutoff), float(soap.sigma), soap.n_max, soap.l_max) == (6.0, 0.4, *choices.FINE)
    monkeypatch.setattr(choices, "FINE_MOLECULES", 0.0)
    large = choices.choose_kernel(frames, gp.Settings())[0].terms[0].descriptor
    assert (large.n_max, large.l_max) == choices.COARSE


def test_the_search_can_be_switched_off():
    frames = labelled(3)
    kernel, made, searched = learn_kernel(frames, settings("train.search=false"), lambda *a: None)
    assert searched is None
    assert float(kernel.terms[0].descriptor.sigma) == 0.45
    assert not any("evidence" in c.reason for c in made)
