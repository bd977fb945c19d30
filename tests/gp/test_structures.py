"""What physics demands of the posterior of structures: conservation, symmetry, extensivity."""

import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.structures.structure import Structure
from tests.covariance.zoo import KERNELS, PLACES, padded
from tests.systems import moved, observed, staged_block, structure

KERNEL = KERNELS["ζ = 2"]


def covariance(first, second) -> np.ndarray:
    """Prior covariance of [E, F, σ] of two lists of structures, without padding."""
    rows = []
    for s in first:
        row = []
        for t in second:
            block = np.asarray(staged_block(KERNEL, padded(KERNEL, s), padded(KERNEL, t)))
            row.append(block[np.ix_(seen(s), seen(t))])
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows)


def seen(s):
    """Rows of energy and forces, and of stress where there is a volume."""
    rows = observed(len(s), PLACES)
    return rows if s.volume is not None else rows[:-6]


class Model:
    """The exact posterior of some structures with all their labels drawn from the prior."""

    def __init__(self, structures, noise=1e-4, chosen=None):
        self.structures = structures
        prior = covariance(structures, structures)
        self.chosen = np.arange(len(prior)) if chosen is None else chosen
        values, vectors = np.linalg.eigh(prior)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        draw = root @ np.random.default_rng(0).normal(size=len(prior))
        self.targets = draw[self.chosen]
        prior = prior[np.ix_(self.chosen, self.chosen)]
        self.posterior = ExactPosterior.condition(
            jnp.asarray(prior), jnp.full(len(prior), noise), jnp.asarray(self.targets)
        )

    def at(self, s):
        """Mean and covariance of [E, F, σ]."""
        cross = jnp.asarray(covariance([s], self.structures)[:, self.chosen])
        mean = self.posterior.mean(cross)
        return np.asarray(mean), np.asarray(self.posterior.covariance(cross, jnp.asarray(covariance([s], [s]))))


@pytest.fixture(scope="module")
def model():
    return Model([structure(n=3), structure(n=4, periodic=False, seed=5)])


@pytest.fixture(scope="module")
def crystal():
    return structure(n=4, seed=9)


@pytest.fixture(scope="module")
def molecule():
    return structure(n=4, periodic=False, seed=11)


def test_mean_forces_are_minus_the_gradient_of_the_mean_energy(model, crystal):
    mean, _ = model.at(crystal)
    h = 1e-4
    for atom, x in ((0, 1), (3, 2)):
        step = np.zeros((4, 3))
        step[atom, x] = h
        ahead, behind = (model.at(moved(crystal, crystal.positions + s * step))[0][0] for s in (1, -1))
        # Truncation h² f'''/6, and the round-off of energies that sum large coefficients.
        assert mean[1 + 3 * atom + x] == pytest.approx(-(ahead - behind) / (2 * h), abs=1e-5)


def test_net_force_and_its_variance_are_zero(model, crystal):
    mean, covar = model.at(crystal)
    net = np.tile(np.eye(3), (1, 4))
    # Coefficients of size 1/noise amplify the round-off of the prior, 1e-13.
    np.testing.assert_allclose(net @ mean[1:13], 0.0, atol=1e-9)
    np.testing.assert_allclose(net @ covar[1:13], 0.0, atol=1e-10)


def test_net_torque_of_a_molecule_and_its_variance_are_zero(model, molecule):
    mean, covar = model.at(molecule)
    x, y, z = molecule.positions.T
    o = np.zeros(4)
    torque = np.stack([np.stack(row, 1).ravel() for row in ((o, -z, y), (z, o, -x), (-y, x, o))])
    np.testing.assert_allclose(torque @ mean[1:], 0.0, atol=1e-9)
    np.testing.assert_allclose(torque @ covar[1:, 1:], 0.0, atol=1e-9)
    # Six combinations of twelve force components are certain, and no more.
    assert np.linalg.matrix_rank(covar[1:, 1:], tol=1e-8 * np.trace(covar)) == 6


def test_forces_that_symmetry_forbids_are_certain(model):
    silicon = Structure.from_ase(bulk("Si"))
    prior = covariance([silicon], [silicon])
    mean, covar = model.at(silicon)
    # Variances are sums of squares, so those of zero directions are round-off, squared.
    np.testing.assert_allclose(np.diagonal(prior)[1:7], 0.0, atol=1e-20)
    np.testing.assert_allclose(np.diagonal(covar)[1:7], 0.0, atol=1e-20)
    np.testing.assert_allclose(mean[1:7], 0.0, atol=1e-9)
    # Cubic: shear stress is forbidden, pressure is not.
    np.testing.assert_allclose(np.diagonal(prior)[-3:], 0.0, atol=1e-20)
    assert np.diagonal(prior)[-6] > 1e-8


def test_a_supercell_is_twice_the_cell_and_as_sure_per_atom(model):
    s = structure(n=2, seed=3)
    double = Structure(
        np.concatenate([s.positions, s.positions + s.cell[1]]),
        np.tile(s.numbers, 2),
        s.cell * [[1], [2], [1]],
        True,
    )
    (mean, covar), (twice, both) = model.at(s), model.at(double)
    # Coefficients of size 1/noise amplify the round-off of features, 1e-14.
    assert twice[0] == pytest.approx(2 * mean[0], abs=1e-9)
    assert both[0, 0] == pytest.approx(4 * covar[0, 0], abs=1e-9)
    np.testing.assert_allclose(twice[1:13].reshape(2, 6), np.tile(mean[1:7], (2, 1)), atol=1e-9)
    np.testing.assert_allclose(twice[-6:], mean[-6:], atol=1e-9)  # intensive
    np.testing.assert_allclose(both[-6:, -6:], covar[-6:, -6:], atol=1e-9)


def test_labels_without_noise_are_reproduced():
    s = structure(n=3)
    # Forces of the third atom follow from the others, so they cannot be asked to be independent.
    model = Model([s], noise=1e-10, chosen=np.r_[0:7, 10:16])
    mean, covar = model.at(s)
    np.testing.assert_allclose(mean[model.chosen], model.targets, atol=1e-4)
    assert np.diagonal(covar)[model.chosen].max() < 1.1e-10
    np.testing.assert_allclose(mean[7:10], -(mean[1:4] + mean[4:7]), atol=1e-6)


def test_more_data_never_raise_any_variance(crystal):
    few = Model([structure(n=3)])
    many = Model([structure(n=3), structure(n=4, seed=5)])
    difference = few.at(crystal)[1] - many.at(crystal)[1]
    # Round-off of the prior, 1e-13, amplified by the inverse of the noise.
    assert np.linalg.eigvalsh(difference).min() > -1e-9


def test_a_noise_free_energy_lowers_the_force_variance_there(crystal):
    # The variance of a sum over environments is not constant, so it tells about the force.
    prior = covariance([crystal], [crystal])
    posterior = ExactPosterior.condition(jnp.asarray(prior[:1, :1]), jnp.zeros(1), jnp.ones(1))
    covar = np.asarray(posterior.covariance(jnp.asarray(prior[:, :1]), jnp.asarray(prior)))
    cross = prior[1:13, 0]
    expected = prior[1:13, 1:13] - np.outer(cross, cross) / prior[0, 0]
    np.testing.assert_allclose(covar[1:13, 1:13], expected, atol=1e-12 * prior.max())
    assert covar[0, 0] == pytest.approx(0.0, abs=1e-13 * prior[0, 0])
    # By −∇ of half the prior variance of the energy, moving both sides together.
    h, slopes = 1e-4, []
    for step in h * np.eye(12):
        sides = (moved(crystal, crystal.positions + s * step.reshape(4, 3)) for s in (1, -1))
        ahead, behind = (covariance([s], [s])[0, 0] for s in sides)
        slopes.append((ahead - behind) / (2 * h))
    np.testing.assert_allclose(cross, -0.5 * np.array(slopes), atol=1e-6 * np.abs(cross).max())
    assert np.trace(expected) < np.trace(prior[1:13, 1:13]) - 1e-3
