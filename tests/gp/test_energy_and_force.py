"""What energies and forces say about each other: acceptance cases worked out beforehand.

Numbers are given to ten digits or more, so the tolerance is 1e-8 throughout.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.kernels import DotPower, EnergyKernel, Term
from tests.gp.curves import covariance, energies, forces, squared_exponential
from tests.systems import small_soap

SE = squared_exponential(0.8, 0.5)
TOLERANCE = 1e-8


def close(value, expected, tolerance=TOLERANCE):
    np.testing.assert_allclose(np.squeeze(value), expected, rtol=0, atol=tolerance)


def condition(kernel, data, noise, targets):
    noise = jnp.asarray(noise, float) * jnp.ones(len(targets))
    prior = jnp.asarray(covariance(kernel, data, data))
    return ExactPosterior.condition(prior, noise, jnp.asarray(targets, float))


def predict(posterior, kernel, data, points):
    cross = jnp.asarray(covariance(kernel, points, data))
    prior = jnp.asarray(covariance(kernel, points, points))
    return np.asarray(posterior.mean(cross)), np.asarray(posterior.covariance(cross, prior))


class TestSumOverEnvironments:
    """Two structures of a few environments, given by vectors in space."""

    first = jnp.array([[1, 0, 0], [0.6, 0.8, 0], [0, 1, 1]]).T
    second = jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]).T

    def cov(self, zeta, a, b):
        kernel = EnergyKernel((Term(small_soap(), 0.25 * DotPower(zeta)),))
        p, q = (x / jnp.linalg.norm(x, axis=0) for x in (a, b))
        like = (jnp.zeros(x.shape[1], int) for x in (a, b))
        return float(jnp.sum(kernel.gram((p,), (q,), *like)))

    def test_prior(self):
        for zeta, expected in ((4, (0.866, 0.380725, 0.5)), (2, (1.09, 0.5575, 0.5))):
            pairs = ((self.first, self.first), (self.first, self.second), (self.second, self.second))
            for (a, b), value in zip(pairs, expected, strict=True):
                assert self.cov(zeta, a, b) == pytest.approx(value, abs=TOLERANCE)

    def test_posterior(self):
        prior = jnp.array([[self.cov(4, self.first, self.first)]])
        posterior = ExactPosterior.condition(prior, jnp.array([1e-4]), jnp.array([-3.0]))
        cross = jnp.array([[self.cov(4, self.second, self.first)]])
        other = jnp.array([[self.cov(4, self.second, self.second)]])
        close(posterior.mean(cross), -1.318756494631105)
        close(posterior.covariance(cross, other), 0.3326388111938573)
        close(posterior.variance(cross, other[0]), 0.3326388111938573)

    def test_a_supercell_is_coherent(self):
        # n² for the variance and n for the covariance; local variances would add up to n.
        double = jnp.concatenate([self.first, self.first], axis=1)
        one, both = self.cov(4, self.first, self.first), self.cov(4, double, double)
        assert both / one == pytest.approx(4.0, abs=1e-12)
        assert self.cov(4, double, self.first) / one == pytest.approx(2.0, abs=1e-12)
        assert abs(one - 3 * 0.25) > 0.1


def test_prior_blocks_of_the_squared_exponential():
    full = covariance(SE, [*energies(0.0), *forces(0.0)], [*energies(0.3), *forces(0.3)])
    expected = [
        [0.5345729353032141, 0.641487522363857],
        [-0.641487522363857, 1.3685067143762282],
    ]
    close(full, expected, 1e-14)
    close(covariance(SE, forces(0.0), forces(0.0)), 1.6**2, 1e-14)


@pytest.mark.parametrize(
    ("offset", "energy", "force"),
    [
        (0.0, 0.0, 2.56),
        (0.1, 0.025094758942513, 2.461615161430803),
        (0.25, 0.141567498834301, 2.061567498834301),
        (0.5, 0.404557157650277, 1.618228630601108),
        (1.0, 0.628277991111210, 2.372447857779362),
    ],
)
def test_a_noise_free_energy_leaves_the_force_there_unknown(offset, energy, force):
    data = energies(0.0)
    posterior = condition(SE, data, 0.0, [0.7])
    assert posterior.jitter == 0.0
    _, covar = predict(posterior, SE, data, [*energies(offset), *forces(offset)])
    close(np.diagonal(covar), [energy, force])


def test_a_rank_one_kernel_makes_the_force_certain():
    def kernel(a, b):
        return jnp.sum(a * b) ** 2

    for x in (0.3, -1.2, 2.0):
        data = energies(x)
        _, covar = predict(condition(kernel, data, 0.0, [1.0]), kernel, data, forces(x))
        # Round-off of a difference of numbers of size 4 x².
        close(covar, 0.0, 1e-14 * 4 * x**2)


def test_a_prior_variance_that_is_not_constant_tells_about_the_force():
    # Σ_F falls by K_FE K_EF / k, with K_FE = −∇k(R, R)/2.
    def kernel(a, b):
        return jnp.sum(a * b) ** 2 + SE(a, b)

    x, data = 0.9, energies(0.9)
    _, covar = predict(condition(kernel, data, 0.0, [1.0]), kernel, data, forces(x))
    prior = 4 * x**2 + 2.56
    close(covar, prior - (2 * x**3) ** 2 / (x**4 + 0.64), 1e-12)


def test_energies_on_both_sides_bracket_the_force():
    variances = []
    for h in (0.4, 0.2, 0.1, 0.05):
        data = energies(-h, h)
        _, covar = predict(condition(SE, data, 1e-12, [0.0, 0.1]), SE, data, forces(0.0))
        variances.append(covar.item())
    # The central difference leaves an error in h² of the third derivative: variance ∝ h⁴.
    assert np.all(np.diff(variances) < 0)
    assert variances[-2] / variances[-1] == pytest.approx(16.0, rel=0.05)


class TestJoint:
    """Two energies and two forces on a line."""

    data = [*energies(0.0, 1.0), *forces(0.0, 1.0)]
    targets = (-1.0, -0.4, 0.2, -0.9)
    noise = (1e-6, 1e-6, 0.0025, 0.0025)

    def at(self, x):
        posterior = condition(SE, self.data, self.noise, self.targets)
        return predict(posterior, SE, self.data, [*energies(x), *forces(x)])

    @pytest.mark.parametrize(
        ("x", "mean", "variance", "covar"),
        [
            (0.4, (-0.8900174385, -0.6271119317), (0.01805574020989, 0.08298385961739),
             -0.03456382737596),
            (0.5, None, (0.02179290047312, 0.01992331796708), 0.0),
            (2.0, (0.0239989187, 0.0303486221), (0.5732688158397, 1.8945054823160), None),
        ],
    )  # fmt: skip
    def test_prediction(self, x, mean, variance, covar):
        ours, full = self.at(x)
        close(np.diagonal(full), variance)
        if mean is not None:
            close(ours, mean)
        if covar is not None:
            close(full[0, 1], covar)
            close(full[1, 0], covar)

    def test_evidence(self):
        posterior = condition(SE, self.data, self.noise, self.targets)
        close(posterior.log_marginal_likelihood, -4.8417823076)

    def test_energies_only(self):
        posterior = condition(SE, self.data[:2], self.noise[:2], self.targets[:2])
        mean, full = predict(posterior, SE, self.data[:2], [*energies(0.4), *forces(0.4)])
        close(mean, (-0.8308827414, -0.8044940023))
        close(np.diagonal(full), (0.2041453837, 0.550758578))
        close(posterior.log_marginal_likelihood, -2.219343166)

    def test_mean_force_is_minus_the_slope_of_the_mean_energy(self):
        h = 1e-5
        slope = (self.at(0.4 + h)[0][0] - self.at(0.4 - h)[0][0]) / (2 * h)
        close(self.at(0.4)[0][1], -slope)  # h² f''' / 6 is below 1e-9

    def test_force_variance_is_that_of_the_slope(self):
        h = 1e-4
        posterior = condition(SE, self.data, self.noise, self.targets)
        _, full = predict(posterior, SE, self.data, energies(0.4 - h, 0.4 + h))
        slope = np.array([-0.5, 0.5]) / h
        _, expected = self.at(0.4)
        # ε/h² = 1e-8, times the size of the prior.
        close(slope @ full @ slope, expected[1, 1], 1e-6)
