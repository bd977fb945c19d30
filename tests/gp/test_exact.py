"""The exact posterior against textbook formulas in NumPy, and the laws of conditioning."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from gpjaxpot.errors import InputError
from gpjaxpot.gp.exact import ExactPosterior


@pytest.fixture(scope="module")
def problem():
    """Joint prior of 12 data and 5 points, noise of differing size, and targets."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(17, 30))
    prior = a @ a.T / 30
    return prior, rng.uniform(0.01, 0.3, 12), rng.normal(size=12)


def condition(prior, noise, targets):
    return ExactPosterior.condition(*map(jnp.asarray, (prior, noise, targets)))


def parts(prior, n):
    """Prior of the first n, cross of the last five with them, prior of the last five."""
    return prior[:n, :n], jnp.asarray(prior[12:, :n]), jnp.asarray(prior[12:, 12:])


def test_equals_the_dense_formulas(problem):
    prior, noise, y = problem
    data, cross, own = parts(prior, 12)
    posterior = condition(data, noise, y)
    inverse = np.linalg.inv(data + np.diag(noise))
    expected = np.asarray(own) - np.asarray(cross) @ inverse @ np.asarray(cross).T
    # The condition number of the matrix is below 1e3.
    np.testing.assert_allclose(posterior.mean(cross), cross @ inverse @ y, atol=1e-12)
    np.testing.assert_allclose(posterior.covariance(cross, own), expected, atol=1e-12)
    np.testing.assert_allclose(posterior.variance(cross, jnp.diagonal(own)), np.diagonal(expected), atol=1e-12)
    density = multivariate_normal(np.zeros(12), data + np.diag(noise)).logpdf(y)
    assert float(posterior.log_marginal_likelihood) == pytest.approx(density, abs=1e-10)
    assert posterior.jitter == 0.0


def test_more_data_never_raise_any_variance(problem):
    prior, noise, y = problem
    before = None
    for n in (1, 4, 5, 12):
        data, cross, own = parts(prior, n)
        covar = np.asarray(condition(data, noise[:n], y[:n]).covariance(cross, own))
        if before is not None:
            # Loewner order, up to round-off of eigenvalues of order one.
            assert np.linalg.eigvalsh(before - covar).min() > -1e-13
        before = covar


def test_variance_does_not_depend_on_targets(problem):
    prior, noise, y = problem
    data, cross, own = parts(prior, 12)
    one, other = condition(data, noise, y), condition(data, noise, 3 * y + 1)
    np.testing.assert_array_equal(one.covariance(cross, own), other.covariance(cross, own))


def test_repeated_labels_count_as_one_of_less_noise(problem):
    prior, _, _ = problem
    data, cross, own = parts(prior, 3)
    n, noise = 5, 0.2
    copies = np.r_[0, 1, [2] * n]
    labels = np.array([0.3, -0.2, *np.linspace(0.0, 1.0, n)])
    many = condition(data[np.ix_(copies, copies)], np.full(2 + n, noise), labels)
    one = condition(data, np.array([noise, noise, noise / n]), np.array([0.3, -0.2, 0.5]))
    np.testing.assert_allclose(many.mean(cross[:, copies]), one.mean(cross), atol=1e-13)
    np.testing.assert_allclose(many.covariance(cross[:, copies], own), one.covariance(cross, own), atol=1e-13)


def test_many_repetitions_leave_the_noise_only():
    for n in (1, 10, 1000):
        posterior = condition(np.ones((n, n)), np.full(n, 0.2), np.ones(n))
        latent = float(posterior.variance(jnp.ones((1, n)), jnp.ones(1))[0])
        assert latent == pytest.approx(0.2 / n / (1 + 0.2 / n), rel=1e-8)


def test_noise_free_data_are_reproduced(problem):
    prior, _, y = problem
    data, _, _ = parts(prior, 12)
    posterior = condition(data, np.zeros(12), y)
    cross = jnp.asarray(data)
    np.testing.assert_allclose(posterior.mean(cross), y, atol=1e-10)
    np.testing.assert_allclose(posterior.variance(cross, jnp.diagonal(cross)), 0.0, atol=1e-12)


def test_noise_free_duplicates_take_a_recorded_jitter():
    prior = np.ones((3, 3))
    posterior = condition(prior, np.zeros(3), np.full(3, 0.4))
    assert 0.0 < posterior.jitter <= 1e-8
    # The jitter acts as noise on three copies of one label.
    mean = float(posterior.mean(jnp.ones((1, 3)))[0])
    assert mean == pytest.approx(0.4 * 3 / (3 + posterior.jitter), rel=1e-3)


def test_jitter_never_exceeds_the_noise():
    # Not positive by −0.1, which no jitter may hide.
    with pytest.raises(InputError, match="not positive definite"):
        condition(np.diag([1.0, -0.1]), np.full(2, 1e-3), np.zeros(2))


class TestLeaveOneOut:
    def test_acceptance(self):
        prior = np.array([[1, 0.6, 0.2], [0.6, 1, 0.5], [0.2, 0.5, 1]])
        y = np.array([0.3, -0.1, 0.4])
        posterior = condition(prior, np.full(3, 0.05), y)
        mean, variance = map(np.asarray, posterior.leave_one_out())
        np.testing.assert_allclose(mean, [-0.10439883, 0.30211765, -0.09090909], atol=1e-8)
        np.testing.assert_allclose(variance, [0.69809384, 0.56011765, 0.80151515], atol=1e-8)
        assert float(posterior.log_marginal_likelihood) == pytest.approx(-2.7426082979, abs=1e-8)
        score = -0.5 * np.sum(np.log(2 * np.pi * variance) + (y - mean) ** 2 / variance)
        assert score == pytest.approx(-2.5884954587, abs=1e-8)

    def test_equals_leaving_each_out(self, problem):
        prior, noise, y = problem
        mean, variance = condition(prior[:12, :12], noise, y).leave_one_out()
        for i in range(12):
            rest = np.delete(np.arange(12), i)
            posterior = condition(prior[np.ix_(rest, rest)], noise[rest], y[rest])
            cross = jnp.asarray(prior[i : i + 1, rest])
            latent = posterior.variance(cross, jnp.asarray(prior[i : i + 1, i]))
            # Of the observation, so its own noise is added.
            assert float(mean[i]) == pytest.approx(float(posterior.mean(cross)[0]), abs=1e-12)
            assert float(variance[i]) == pytest.approx(float(latent[0]) + noise[i], abs=1e-12)
