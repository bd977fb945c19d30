"""An accelerator computes what the CPU does: `make test-gpu`."""

import jax
import numpy as np
import pytest
from ase.build import bulk

import gpjaxpot as gp
from gpjaxpot.datasets import silicon

pytestmark = pytest.mark.gpu
SETTINGS = {
    "descriptor": [{"type": "soap", "cutoff": 5.0, "n_max": 6, "l_max": 4}],
    "kernel": {"type": "dot_power", "zeta": 3},
    "noise": {"energy": 0.01, "forces": 0.05},
    "model": {"method": "sparse", "n_inducing": 100, "refine": False},
    "train": {"stress": False},
    "calibration": {"method": "none"},
}


def fitted() -> gp.Potential:
    return gp.fit(silicon()[0][:12], settings=gp.Settings.model_validate(SETTINGS))


@pytest.fixture(scope="module")
def potential() -> gp.Potential:
    return fitted()


@pytest.fixture(scope="module")
def on_cpu() -> gp.Potential:
    with jax.default_device(jax.devices("cpu")[0]):
        return fitted()


def crystal(repeats: int):
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(repeats)
    atoms.rattle(0.1, seed=1)
    return atoms


def test_a_fit_is_the_same_as_on_the_cpu(potential: gp.Potential, on_cpu: gp.Potential):
    atoms = crystal(2)
    here = potential.predict(atoms, uncertainty=True)
    with jax.default_device(jax.devices("cpu")[0]):
        there = on_cpu.predict(atoms, uncertainty=True)
    assert here.energy == pytest.approx(there.energy, abs=1e-5)
    np.testing.assert_allclose(here.forces, there.forces, atol=1e-5)
    np.testing.assert_allclose(here.stress, there.stress, atol=1e-7)
    np.testing.assert_allclose(here.forces_epistemic_std, there.forces_epistemic_std, rtol=1e-3)
    assert potential.log_marginal_likelihood == pytest.approx(on_cpu.log_marginal_likelihood, rel=1e-6)


def test_a_prediction_is_the_same_as_on_the_cpu(on_cpu: gp.Potential, tmp_path):
    atoms = crystal(2)
    with jax.default_device(jax.devices("cpu")[0]):
        there = on_cpu.predict(atoms)
        on_cpu.save(tmp_path / "model.gpjax")
    here = gp.Potential.load(tmp_path / "model.gpjax").predict(atoms)
    assert here.energy == pytest.approx(there.energy, abs=1e-8)
    np.testing.assert_allclose(here.forces, there.forces, atol=1e-9)
    np.testing.assert_allclose(here.stress, there.stress, atol=1e-11)


def test_chunks_of_a_large_structure_add_up(potential: gp.Potential):
    small, large = (potential.predict(a) for a in (crystal(2), crystal(2).repeat(6)))  # 13 824 atoms: two chunks
    assert large.energy == pytest.approx(216 * small.energy, rel=1e-11)
    np.testing.assert_allclose(large.forces[:64], small.forces, atol=1e-9)


def test_float32_does_not_fall_to_the_ten_bits_of_matrix_units(potential: gp.Potential):
    atoms = crystal(2)
    double, short = potential.predict(atoms), potential.predict(atoms, dtype="float32")
    assert np.abs(short.forces - double.forces).max() < 1e-2
    assert abs(short.energy - double.energy) / len(atoms) < 3e-3


def test_forces_are_the_slope_of_the_energy(potential: gp.Potential):
    atoms, step = crystal(1), 1e-3
    forces = potential.predict(atoms).forces
    for i, axis in ((0, 0), (3, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, axis] += sign * step
            energies.append(potential.predict(moved).energy)
        assert (energies[1] - energies[0]) / (2 * step) == pytest.approx(forces[i, axis], abs=2e-5)
