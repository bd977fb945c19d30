"""What follows from energies, forces and stresses: force constants, elastic constants and rates, with their spreads.

Each is compared to as many digits as it is given to, or to as many as a weak prior leaves.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import constants, integrate

from gpjaxpot import units
from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.sparse import SparsePosterior
from gpjaxpot.kernels import SquaredExponential
from gpjaxpot.uncertainty import QuantileFunction
from tests.gp.curves import covariance, energies, forces, squared_exponential


class TestForceConstant:
    """A spring of 5 eV/Å² from the forces ±0.01 Å off its rest, each with a noise of 0.01 eV/Å."""

    step, noise = 0.01, 0.01
    data = forces(-step, step)
    # Force constants by central differences: −(F(h) − F(−h))/2h.
    difference = np.array([1.0, -1.0]) / (2 * step)

    def test_labels_with_independent_errors(self):
        # A spring of unknown stiffness Φ ~ N(0, 10⁸) and nothing else: E = Φ x²/2, and the force at 1 is −Φ.
        def spring(a, b):
            return 1e8 * 0.25 * jnp.sum(a * b) ** 2

        labels = np.array([0.052, -0.048])
        prior = jnp.asarray(covariance(spring, self.data, self.data))
        posterior = ExactPosterior.condition(prior, jnp.full(2, self.noise**2), jnp.asarray(labels))
        cross, own = (jnp.asarray(covariance(spring, forces(1.0), other)) for other in (self.data, forces(1.0)))
        # The prior pulls the mean by 5e-9, and loses eight digits of a variance of ½.
        stiffness, spread = -float(posterior.mean(cross)[0]), float(jnp.sqrt(posterior.variance(cross, own[0])[0]))
        assert stiffness == pytest.approx(self.difference @ labels, rel=1e-6)
        assert spread == pytest.approx(0.70710678, rel=1e-6)
        assert spread == pytest.approx(self.noise / (np.sqrt(2) * self.step), rel=1e-6)
        # The highest frequency of a chain of silicon atoms on such springs is 2√(Φ/m), and errs by half of Φ's share.
        square = units.ELEMENTARY_CHARGE * 1e20 * units.AVOGADRO * 1e3  # eV/(Å² amu) in 1/s²

        def frequency(phi):
            """In THz."""
            return 2.0 * jnp.sqrt(phi / 28.0855 * square) / (2e12 * jnp.pi)

        highest, slope = (float(value) for value in jax.value_and_grad(frequency)(stiffness))
        assert highest == pytest.approx(13.192427, rel=1e-6)
        assert slope * spread / highest == pytest.approx(0.0707107, rel=1e-6)

    def test_errors_of_one_function_cancel(self):
        # Forces with the spread of the noise above, whose errors at both ends are nearly the same: Var Φ is 3σ²/ℓ⁴.
        ell = 0.5
        smooth = covariance(squared_exponential(self.noise * ell, ell), self.data, self.data)
        np.testing.assert_allclose(np.diagonal(smooth), self.noise**2, rtol=1e-12)
        spread = np.sqrt(self.difference @ smooth @ self.difference)
        # (h/ℓ)² of relative error.
        assert spread == pytest.approx(np.sqrt(3) * self.noise / ell, rel=1e-3)
        # A function that has forgotten the one when it comes to the other has independent errors.
        rough = covariance(squared_exponential(self.noise * 1e-3, 1e-3), self.data, self.data)
        assert np.sqrt(self.difference @ rough @ self.difference) == pytest.approx(0.70710678, rel=1e-7)


class TestElasticConstant:
    """Stresses of three strains with correlated errors, GPa."""

    strains = np.array([0.001, 0.002, 0.003])
    stresses = np.array([0.160, 0.325, 0.470])
    noise = 1e-4 * np.array([[1.0, 0.5, 0.2], [0.5, 1.5, 0.4], [0.2, 0.4, 4.0]])
    # Of the constant, next to nothing is known before: 10⁴ GPa. That pulls it by (5 / 10⁴)².
    prior = 1e8

    def exact(self, noise, labels):
        """Mean and standard deviation of the constant; errors of stresses are part of their covariance."""
        gram = self.prior * np.outer(self.strains, self.strains) + noise
        posterior = ExactPosterior.condition(jnp.asarray(gram), jnp.zeros(3), jnp.asarray(labels))
        assert posterior.jitter == 0.0
        cross = jnp.asarray(self.prior * self.strains[None])
        variance = posterior.variance(cross, jnp.full(1, self.prior))
        return float(posterior.mean(cross)[0]), float(jnp.sqrt(variance[0]))

    def sparse(self, noise, labels):
        """The same, with the constant as the inducing variable and errors made independent."""
        rows = np.linalg.solve(np.linalg.cholesky(noise), np.column_stack([self.prior * self.strains, labels]))
        _, log_noise = np.linalg.slogdet(noise)
        posterior = SparsePosterior.from_rows(np.array([[self.prior**-0.5]]), rows, 3, float(log_noise))
        cross = jnp.full((1, 1), self.prior)
        return float(posterior.mean(cross)[0]), float(jnp.sqrt(posterior.variance(cross, jnp.full(1, self.prior))[0]))

    @pytest.mark.parametrize("kind", ["exact", "sparse"])
    def test_without_a_prior_it_is_that_of_generalised_least_squares(self, kind):
        mean, spread = getattr(self, kind)(self.noise, self.stresses)
        # The weak prior pulls by 2e-7, and loses seven digits of a variance of 23.
        assert mean == pytest.approx(159.76247, rel=1e-6)
        assert spread == pytest.approx(4.804986, rel=1e-6)

    @pytest.mark.parametrize("kind", ["exact", "sparse"])
    def test_errors_taken_for_equal_and_independent_have_that_of_ordinary_ones(self, kind):
        equal = 1e-4 * np.eye(3)
        mean, _ = getattr(self, kind)(equal, self.stresses)
        assert mean == pytest.approx(158.57143, rel=1e-6)
        # What such a constant really errs by: more than generalised least squares.
        weights = np.array([getattr(self, kind)(equal, unit)[0] for unit in np.eye(3)])
        spread = np.sqrt(weights @ self.noise @ weights)
        assert spread == pytest.approx(5.101020, rel=1e-6)
        assert spread > getattr(self, kind)(self.noise, self.stresses)[1]


class TestRate:
    """A barrier that is uncertain by 0.05 eV, though the energies of its foot and its top are by 1 eV."""

    kelvin = constants.k / constants.e  # eV

    def spread(self):
        """σ of E(top) − E(foot), eV: an offset of 1 eV that they share, and a barrier of which there is a label."""
        prior = np.array([[1.0, 1.0, 0.0], [1.0, 1.005, 0.005], [0.0, 0.005, 0.005]])  # foot, top, their difference
        posterior = ExactPosterior.condition(jnp.asarray(prior[2:, 2:]), jnp.array([0.005]), jnp.array([1.2]))
        covar = np.asarray(posterior.covariance(jnp.asarray(prior[:2, 2:]), jnp.asarray(prior[:2, :2])))
        assert np.sqrt(np.trace(covar)) > 1.4  # what it would be if their errors were independent
        return float(np.sqrt(covar[0, 0] + covar[1, 1] - 2 * covar[0, 1]))

    @pytest.mark.parametrize(
        ("temperature", "exponent", "one_sigma", "mean", "bound"),
        [(300.0, 1.9340863536, 6.9177, 6.4905, 44.289), (1000.0, 0.5802259, 1.78644, 1.18333, 3.11809)],
    )
    def test_a_rate_is_uncertain_by_factors(self, temperature, exponent, one_sigma, mean, bound):
        spread = self.spread() / (self.kelvin * temperature)
        assert self.spread() == pytest.approx(0.05, abs=1e-12)
        # Boltzmann's constant was given to ten digits.
        assert spread == pytest.approx(exponent, rel=1e-6)
        # The rate falls as exp(−E/kT): bounds of the barrier are bounds of the rate, by factors of its median.
        normal = QuantileFunction.gaussian(spread)
        assert np.exp(normal.sigma) == pytest.approx(one_sigma, rel=1e-5)
        assert np.exp(normal.width(0.95)) == pytest.approx(bound, rel=1e-5)
        # Its mean is larger than its median, by the integral over the distribution.
        x = np.linspace(-6 * spread, 6 * spread, 20_001)
        found = integrate.trapezoid(np.exp(normal.log_density(x) - x), x)
        assert found == pytest.approx(mean, rel=1e-3)
        assert found == pytest.approx(np.exp(0.5 * spread**2), rel=1e-3)


def test_a_label_of_the_cheap_method_leaves_what_the_methods_differ_by():
    """Of two methods the dear one is 1.2 times the cheap one and a function of its own.

    Source: Kennedy & O'Hagan, Biometrika 87, 1 (2000), eq. 1.
    """
    ratio, cheap, apart = 1.2, SquaredExponential(0.5), 0.09 * SquaredExponential(0.3)

    def both(a, b):
        """Covariance of the methods at places (x, 0 for the cheap one and 1 for the dear one)."""
        first, second = (1.0 + (ratio - 1.0) * place[1] for place in (a, b))
        return first * second * cheap.evaluate(a[:1], b[:1]) + a[1] * b[1] * apart.evaluate(a[:1], b[:1])

    def at(x):
        return [*energies(np.array([x, 0.0]), np.array([x, 1.0]))]

    prior = covariance(both, at(0.4), at(0.4))
    np.testing.assert_allclose(prior, [[1.0, 1.2], [1.2, 1.53]], atol=1e-14)
    cross, own, dear = (jnp.asarray(prior[np.ix_(i, j)]) for i, j in (([1], [0]), ([0], [0]), ([1], [1])))
    posterior = ExactPosterior.condition(own, jnp.zeros(1), jnp.array([-2.0]))
    assert float(posterior.covariance(cross, dear)[0, 0]) == pytest.approx(0.09, abs=1e-14)
    assert float(posterior.mean(cross)[0]) == pytest.approx(-2.4, abs=1e-14)
    # More labels of the cheap method tell nothing more; one of the dear method nearby does.
    for data, left in [([at(0.4)[0], at(0.3)[0]], 0.09), ([at(0.4)[0], *at(0.3)], 0.09 * (1.0 - np.exp(-1.0 / 9.0)))]:
        cross, own = (jnp.asarray(covariance(both, rows, data)) for rows in (at(0.4)[1:], data))
        posterior = ExactPosterior.condition(own, jnp.zeros(len(data)), jnp.zeros(len(data)))
        # The cheap method's covariance at the two places has a condition number of 1e2.
        assert float(posterior.covariance(cross, dear)[0, 0]) == pytest.approx(left, abs=1e-12)
