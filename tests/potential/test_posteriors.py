"""Exact and sparse potentials against the textbook, against each other, and against the laws."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import gpjaxpot as gp
from gpjaxpot.covariance import blocks
from gpjaxpot.kernels import EnergyKernel
from gpjaxpot.potential.exact_model import one_by_one
from gpjaxpot.structures.structure import Structure
from tests.potential.conftest import labelled, settings, soap


def textbook(kernel: EnergyKernel, train, test, reference):
    """Joint posterior of `test` by nested AD and plain inverses: nothing of the fast path is used."""
    block = eqx.filter_jit(blocks.observable_block)
    batches = one_by_one(kernel, tuple(f.structure for f in train))
    (b,) = one_by_one(kernel, (test,))
    k = np.block([[np.asarray(block(kernel, x, y)) for y in batches] for x in batches])
    cross = np.concatenate([np.asarray(block(kernel, b, y)) for y in batches], axis=1)
    prior = np.asarray(block(kernel, b, b))
    n = len(test)
    y = np.concatenate(
        [
            np.concatenate([[f.labels.energy - reference.total(f.structure)], f.labels.forces.ravel(), f.labels.stress])
            for f in train
        ]
    )
    one = np.concatenate([[0.002 * np.sqrt(n)], np.full(3 * n, 0.02), np.full(6, 0.001)])
    noise = np.tile(one, len(train)) ** 2
    solved = np.linalg.solve(k + np.diag(noise), np.column_stack([y, cross.T]))
    return cross @ solved[:, 0], prior - cross @ solved[:, 1:]


def test_exact_mean_and_covariance_are_the_textbook_formulas(exact, frames):
    # 1e-8 eV² is the bar; solving with a matrix of condition 1e7 leaves about 1e-10.
    test = frames[7].structure
    mean, covariance = textbook(exact.kernel, frames[:6], test, exact.reference)
    joint = exact.joint(test)
    mean[0] += exact.reference.total(test)
    np.testing.assert_allclose(joint.mean, mean, atol=1e-8)
    np.testing.assert_allclose(joint.covariance, covariance, atol=1e-8)


@pytest.mark.parametrize("which", ["exact", "sparse"])
def test_prediction_agrees_with_the_joint_posterior(which, request, frames):
    potential, test = request.getfixturevalue(which), frames[6].structure
    p, joint = potential.predict(test, uncertainty=True, covariance=True), potential.joint(test)
    std = np.sqrt(np.diag(joint.covariance))
    n = len(test)
    np.testing.assert_allclose(p.energy_epistemic_std, std[0], rtol=1e-6)
    np.testing.assert_allclose(p.forces_epistemic_std.ravel(), std[1 : 1 + 3 * n], rtol=1e-6)
    np.testing.assert_allclose(p.stress_epistemic_std, std[-6:], rtol=1e-6)
    for a in range(n):
        here = slice(1 + 3 * a, 4 + 3 * a)
        np.testing.assert_allclose(p.forces_covariance[a], joint.covariance[here, here], atol=1e-10)
    np.testing.assert_allclose(p.energy_std**2, p.energy_epistemic_std**2 + p.energy_aleatoric_std**2, rtol=1e-12)
    np.testing.assert_allclose(p.forces_std**2, p.forces_epistemic_std**2 + p.forces_aleatoric_std**2, rtol=1e-12)


@pytest.mark.parametrize("which", ["exact", "sparse"])
def test_factors_on_spreads_are_those_of_predictions_and_of_the_joint_posterior(which, request, frames, tmp_path):
    plain, test = request.getfixturevalue(which), frames[6].structure
    scaled = replace(plain, spread=(0.5, 1.0, 3.0))
    scaled.save(tmp_path / "scaled.safetensors")
    scaled = gp.Potential.load(tmp_path / "scaled.safetensors")
    (p, q), n = (x.predict(test, uncertainty=True, covariance=True) for x in (plain, scaled)), len(test)
    np.testing.assert_allclose(q.energy_epistemic_std, 0.5 * p.energy_epistemic_std, rtol=1e-12)
    np.testing.assert_allclose(q.energies_std, 0.5 * p.energies_std, rtol=1e-12)
    np.testing.assert_allclose(q.stress_epistemic_std, 3.0 * p.stress_epistemic_std, rtol=1e-12)
    for name in ("forces_std", "forces_covariance", "energy_aleatoric_std", "stress_aleatoric_std", "energy"):
        np.testing.assert_array_equal(getattr(q, name), getattr(p, name))
    both = [frames[6].structure, frames[7].structure]
    times = np.tile(np.repeat([0.5, 1.0, 3.0], [1, 3 * n, 6]), 2)
    expected = plain.joint(both).covariance * np.outer(times, times)
    np.testing.assert_allclose(scaled.joint(both).covariance, expected, rtol=1e-9, atol=1e-12)


def test_sparse_equals_exact_where_the_inducing_environments_span_the_features(frames):
    # ζ = 1 and 12 features, 24 inducing environments: both posteriors live in the same 12-dimensional space.
    small = soap(n_max=2, l_max=1)
    one = gp.fit(frames[:6], small, gp.DotPower(1), settings=settings("model.method=exact"))
    other = settings("model.method=sparse", "model.n_inducing=24", "model.selection=farthest")
    two = gp.fit(frames[:6], small, gp.DotPower(1), settings=other)
    a, b = one.joint(frames[7].structure), two.joint(frames[7].structure)
    np.testing.assert_allclose(b.mean, a.mean, atol=1e-6)
    np.testing.assert_allclose(b.covariance, a.covariance, atol=1e-6)
    np.testing.assert_allclose(two.log_marginal_likelihood, one.log_marginal_likelihood, rtol=1e-6)


@pytest.mark.parametrize("kernel", [gp.DotPower(4), gp.Matern52(0.5)])
def test_sparse_equals_exact_on_energies_alone_with_all_environments(frames, kernel):
    only = ("train.forces=false", "train.stress=false")
    one = gp.fit(frames[:6], soap(), kernel, settings=settings("model.method=exact", *only))
    all_of_them = ("model.method=sparse", "model.n_inducing=24", "model.selection=farthest")
    two = gp.fit(frames[:6], soap(), kernel, settings=settings(*all_of_them, *only))
    a = one.predict(frames[7], uncertainty=True)
    b = two.predict(frames[7], uncertainty=True)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), atol=1e-6)
        mine, theirs = (getattr(p, f"{name}_epistemic_std") ** 2 for p in (b, a))
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("which", ["exact", "sparse"])
def test_forces_and_stress_are_derivatives_of_the_energy(which, request, frames):
    potential, s = request.getfixturevalue(which), frames[7].structure
    # The weights cancel to 1e-9 eV in the energy, which the step of 1e-4 Å makes 1e-5 eV/Å.
    p, h = potential.predict(s), 1e-4
    finder = potential.neighbours()

    def energy(positions, cell):
        return potential.predict(Structure(positions, s.numbers, cell, True), neighbours=finder).energy

    for atom, axis in ((0, 0), (2, 1), (3, 2)):
        step = np.zeros_like(s.positions)
        step[atom, axis] = h
        slope = (energy(s.positions + step, s.cell) - energy(s.positions - step, s.cell)) / (2 * h)
        np.testing.assert_allclose(p.forces[atom, axis], -slope, atol=2e-5)
    for v, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5 * h
        strain[j, i] += 0.5 * h
        up, down = np.eye(3) + strain, np.eye(3) - strain
        slope = energy(s.positions @ up, s.cell @ up) - energy(s.positions @ down, s.cell @ down)
        np.testing.assert_allclose(p.stress[v], slope / (2 * h) / s.volume, atol=2e-5)


@pytest.mark.parametrize("which", ["exact", "sparse"])
def test_rotation_permutation_and_translation(which, request, frames):
    potential, s = request.getfixturevalue(which), frames[7].structure
    turn = -Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix()  # with an inversion
    order = np.array([2, 0, 3, 1])
    other = Structure((s.positions @ turn.T + [1.3, -7.0, 2.2])[order], s.numbers[order], s.cell @ turn.T, True)
    a = potential.predict(s, uncertainty=True, covariance=True)
    b = potential.predict(other, uncertainty=True, covariance=True)
    np.testing.assert_allclose(b.energy, a.energy, atol=1e-9)
    np.testing.assert_allclose(b.energy_epistemic_std, a.energy_epistemic_std, rtol=1e-6)
    np.testing.assert_allclose(b.forces, (a.forces @ turn.T)[order], atol=1e-9)
    turned = turn @ a.forces_covariance @ turn.T
    np.testing.assert_allclose(b.forces_covariance, turned[order], atol=1e-9)


@pytest.mark.parametrize("which", ["exact", "sparse"])
def test_supercell_energy_is_coherent(which, request, frames):
    # Twice the same cell: mean doubles, and so does σ (not √2), cov(E2, E) = 2 var(E).
    potential, s = request.getfixturevalue(which), frames[7].structure
    doubled = np.concatenate([s.positions, s.positions + s.cell[0]])
    cell = s.cell * np.array([[2.0], [1.0], [1.0]])
    two = Structure(doubled, np.tile(s.numbers, 2), cell, True)
    joint = potential.joint([s, two])
    first, second = 0, 1 + 3 * len(s) + 6
    np.testing.assert_allclose(joint.mean[second], 2 * joint.mean[first], rtol=1e-10)
    variance = joint.covariance[first, first]
    np.testing.assert_allclose(joint.covariance[second, second], 4 * variance, rtol=1e-6)
    np.testing.assert_allclose(joint.covariance[first, second], 2 * variance, rtol=1e-6)


@pytest.mark.parametrize("which", ["exact", "sparse"])
def test_net_force_has_no_variance_and_the_covariance_is_positive(which, request, frames):
    joint = request.getfixturevalue(which).joint(frames[7].structure)
    forces = joint.covariance[1:13, 1:13].reshape(4, 3, 4, 3)
    assert abs(forces.sum(axis=(0, 2))).max() < 1e-9
    assert np.linalg.eigvalsh(joint.covariance).min() > -1e-9


def test_a_free_cluster_has_no_net_torque_and_six_directions_without_variance(exact, frames):
    s = Structure(frames[7].structure.positions, frames[7].structure.numbers)
    forces = exact.joint(s).covariance[1:13, 1:13]
    arms = np.stack([np.cross(np.eye(3)[k], s.positions).ravel() for k in range(3)])
    assert abs(arms @ forces @ arms.T).max() < 1e-9
    assert np.linalg.matrix_rank(forces, tol=1e-8) <= 6


def test_forces_forbidden_by_symmetry_are_certain(exact):
    crystal = gp.Structure(np.zeros((1, 3)), [14], 2.3 * np.eye(3), True)
    p = exact.predict(crystal, uncertainty=True)
    assert abs(p.forces).max() < 1e-10
    assert p.forces_epistemic_std.max() == 0.0


def test_more_data_never_add_variance(frames, exact):
    few = gp.fit(frames[:4], soap(), gp.DotPower(2), settings=settings("model.method=exact"))
    s = frames[7].structure
    difference = few.joint(s).covariance - exact.joint(s).covariance
    assert np.linalg.eigvalsh(difference).min() > -1e-9


def test_residuals_fall_with_the_noise(frames):
    # Labels of a pair potential lie within the kernel's reach, the weakest directions only just.
    worst = []
    for level in (1e-1, 1e-2, 1e-4):
        chosen = settings("model.method=exact", f"noise.energy={level}", f"noise.forces={level}", "train.stress=false")
        potential = gp.fit(frames[:2], soap(n_max=4, l_max=3), gp.DotPower(4), settings=chosen)
        found = [potential.predict(f) for f in frames[:2]]
        worst.append(max(abs(p.forces - f.labels.forces).max() for p, f in zip(found, frames[:2], strict=True)))
        energies = [abs(p.energy - f.labels.energy) for p, f in zip(found, frames[:2], strict=True)]
    assert worst[0] > worst[1] > worst[2]
    assert max(energies) < 1e-2


def test_a_constant_in_all_energies_is_taken_up_by_the_reference(frames):
    shifted = [
        gp.Frame(f.structure, gp.Labels(f.labels.energy + 100.0 * len(f.structure), f.labels.forces)) for f in frames
    ]
    plain = [gp.Frame(f.structure, gp.Labels(f.labels.energy, f.labels.forces)) for f in frames]
    chosen = settings("model.method=exact")
    a = gp.fit(plain[:4], soap(), gp.DotPower(2), settings=chosen).predict(frames[7])
    b = gp.fit(shifted[:4], soap(), gp.DotPower(2), settings=chosen).predict(frames[7])
    np.testing.assert_allclose(b.energy - a.energy, 400.0, atol=1e-6)
    np.testing.assert_allclose(b.forces, a.forces, atol=1e-6)


def test_samples_scatter_as_the_covariance_says(sparse, frames):
    s = frames[7].structure
    joint = sparse.joint(s)
    draws = joint.sample(jax.random.key(0), 4000)
    # The relative error of a variance from 4000 draws is √(2/3999) = 2.2 %; six of them is 13 %.
    np.testing.assert_allclose(draws[:, 0].var(), joint.covariance[0, 0], rtol=0.13)
    one = sparse.sample(jax.random.key(1)).predict(s)
    assert one.energy != sparse.predict(s).energy


def test_molecules_and_crystals_in_one_fit(frames):
    # Mixed boundary conditions and labels: a missing label is absent, not zero.
    molecules = labelled(3, periodic=False, seed=5)
    atom = gp.Frame(gp.Structure(np.zeros((1, 3)), [14]), gp.Labels(-0.7), group="IsolatedAtom")
    no_energy = gp.Frame(frames[4].structure, gp.Labels(None, frames[4].labels.forces))
    mixed = [*frames[:3], *molecules, atom, no_energy]
    for method in ("exact", "sparse"):
        potential = gp.fit(mixed, soap(), gp.DotPower(2), settings=settings(f"model.method={method}"))
        p = potential.predict(atom, uncertainty=True)
        assert abs(p.energy + 0.7) < 2e-3  # its label has σ = 1e-4 eV, the others pull
        assert p.stress is None
        assert abs(p.forces).max() == 0.0
        assert np.isfinite(potential.predict(molecules[0], uncertainty=True).energy_std)
