"""Symmetry: what one observation says about all its images, in a plane and for structures."""

import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.gp.exact import ExactPosterior
from tests.covariance.zoo import KERNELS, PLACES, padded
from tests.gp.curves import covariance, energies, forces, squared_exponential
from tests.systems import observed, rotated, rotation, staged_block, structure

TOLERANCE = 1e-8
QUARTER = np.array([[0.0, -1.0], [1.0, 0.0]])
GROUP = [np.linalg.matrix_power(QUARTER, n) for n in range(4)]
GENERIC = squared_exponential(1.0, 0.7)
POINT, OTHER = np.array([1.0, 0.3]), np.array([0.2, 0.8])
LABEL, NOISE = 0.7, 0.01


def invariant(a, b):
    """Average of the generic kernel over the images of b."""
    return sum(GENERIC(a, jnp.asarray(g) @ b) for g in GROUP) / 4


def posterior_at(kernel, data, noise, points, targets=None):
    targets = jnp.full(len(data), LABEL) if targets is None else targets
    prior = jnp.asarray(covariance(kernel, data, data))
    posterior = ExactPosterior.condition(prior, jnp.full(len(targets), noise), targets)
    cross = jnp.asarray(covariance(kernel, points, data))
    own = jnp.asarray(covariance(kernel, points, points))
    return np.asarray(posterior.mean(cross)), np.asarray(posterior.covariance(cross, own))


def orbit(x):
    return [g @ x for g in GROUP]


def test_invariant_kernel_knows_the_whole_orbit():
    assert float(invariant(*map(jnp.asarray, (POINT, POINT)))) == pytest.approx(0.3069839071, abs=TOLERANCE)
    mean, covar = posterior_at(invariant, energies(POINT), NOISE, energies(*orbit(POINT)))
    np.testing.assert_allclose(mean, 0.67791686, atol=TOLERANCE)
    np.testing.assert_allclose(np.diagonal(covar), 0.0096845266, atol=TOLERANCE)


def test_generic_kernel_knows_the_point_only():
    _, covar = posterior_at(GENERIC, energies(POINT), NOISE, energies(*orbit(POINT)))
    expected = [0.00990099, 0.98842526, 0.99986469, 0.98842526]
    np.testing.assert_allclose(np.diagonal(covar), expected, atol=TOLERANCE)


def test_augmentation_is_one_invariant_datum_of_a_quarter_of_the_noise():
    at, copies = energies(OTHER), energies(*orbit(POINT))
    augmented, _ = posterior_at(GENERIC, copies, NOISE, at)
    quarter, covar = posterior_at(invariant, energies(POINT), NOISE / 4, at)
    whole, _ = posterior_at(invariant, energies(POINT), NOISE, at)
    np.testing.assert_allclose(augmented, 0.7070085061, atol=TOLERANCE)
    np.testing.assert_allclose(quarter, augmented, atol=1e-13)
    np.testing.assert_allclose(whole, 0.6902803263, atol=TOLERANCE)
    # The variance of the prediction averaged over the orbit is the same, too.
    _, full = posterior_at(GENERIC, copies, NOISE, energies(*orbit(OTHER)))
    np.testing.assert_allclose(full.mean(), 0.0746848289, atol=TOLERANCE)
    np.testing.assert_allclose(covar.item(), full.mean(), atol=1e-13)


def test_invariant_forces_turn_with_the_point():
    data = [*energies(POINT), *forces(OTHER)]
    targets = jnp.array([LABEL, 0.3, -0.2])
    mean, covar = posterior_at(invariant, data, NOISE, forces(POINT), targets)
    for g, place in zip(GROUP, orbit(POINT), strict=True):
        turned, turned_covar = posterior_at(invariant, data, NOISE, forces(place), targets)
        np.testing.assert_allclose(turned, g @ mean, atol=1e-13)
        np.testing.assert_allclose(turned_covar, g @ covar @ g.T, atol=1e-13)


class TestStructures:
    """The kernel of structures is invariant to rotating each by itself."""

    kernel = KERNELS["ζ = 2"]

    def block(self, s, t):
        """cov([E, F]) of two molecules of four atoms."""
        full = staged_block(self.kernel, padded(self.kernel, s), padded(self.kernel, t))
        chosen = observed(4, PLACES)[:13]
        return np.asarray(full)[np.ix_(chosen, chosen)]

    @staticmethod
    def turn(q):
        """Act on [E, F] of four atoms."""
        full = np.eye(13)
        full[1:, 1:] = np.kron(np.eye(4), q)
        return full

    @pytest.fixture(scope="class")
    @classmethod
    def molecules(cls):
        return [structure(n=4, periodic=False, seed=i) for i in range(2)]

    def test_forces_turn_with_either_structure(self, molecules):
        a, b = molecules
        q, r = rotation(1), rotation(2, improper=True)
        expected = self.turn(q) @ self.block(a, b) @ self.turn(r).T
        # Entries are of order one to ten; features are turned to 1e-13.
        np.testing.assert_allclose(self.block(rotated(a, q), rotated(b, r)), expected, atol=1e-10)

    def test_posterior_turns_with_the_structure_asked_for(self, molecules):
        a, b = molecules
        targets = jnp.asarray(np.random.default_rng(0).normal(size=13))
        prior = jnp.asarray(self.block(a, a))
        posterior = ExactPosterior.condition(prior, jnp.full(13, 1e-2), targets)
        q = self.turn(rotation(3, improper=True))
        turned = rotated(b, rotation(3, improper=True))
        mean = posterior.mean(jnp.asarray(self.block(b, a)))
        covar = posterior.covariance(*map(jnp.asarray, (self.block(b, a), self.block(b, b))))
        there = jnp.asarray(self.block(turned, a)), jnp.asarray(self.block(turned, turned))
        # Features to 1e-13, divided by a noise of 1e-2.
        np.testing.assert_allclose(posterior.mean(there[0]), q @ mean, atol=1e-10)
        np.testing.assert_allclose(posterior.covariance(*there), q @ covar @ q.T, atol=1e-10)
