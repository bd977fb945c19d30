"""Draws by NUTS against closed forms and quadrature, within the error of so many independent draws."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.gp.laplace import laplace
from gpjaxpot.gp.nuts import nuts
from tests.gp.evidences import COVARIANCE, MEAN, NAMES, few_labels, grid_moments, many_labels, normal

pytest.importorskip("blackjax")


def check(draws, mean, covariance, widths=5.0):
    """Means and deviations within `widths` standard errors of the worst logarithm's effective number."""
    flat = draws.logarithms.reshape(-1, len(draws.names))
    std = np.sqrt(np.diag(covariance))
    error = widths / np.sqrt(draws.effective)
    assert np.all(abs(flat.mean(0) - mean) < error * std)
    # The error of a deviation is 1/√2 of the mean's where the density is normal; tails make it larger.
    np.testing.assert_allclose(flat.std(0), std, rtol=error)
    assert draws.divergences <= 0.02 * len(flat)
    assert draws.r_hat < 1.05


def test_moments_of_a_normal_density():
    # Coordinates that are no symmetric matrix away, nor right: they are a help alone.
    draws = nuts(normal, ("a", "b"), np.zeros(2), np.array([[1.0, 0.0], [0.9, 0.4]]), 500, 0)
    check(draws, MEAN, COVARIANCE)
    flat = draws.logarithms.reshape(-1, 2)
    assert np.corrcoef(flat.T)[0, 1] == pytest.approx(COVARIANCE[0, 1] / np.sqrt(0.2), abs=0.1)


@pytest.mark.parametrize("density", [few_labels, many_labels])
def test_moments_of_an_evidence_by_quadrature(density):
    mean, covariance = grid_moments(density)
    normal = laplace(density, {"variance": 1.0, "noise": 0.1})
    check(nuts(density, NAMES, normal.mode, normal.root, 400, 1), mean, covariance)


def test_noise_of_five_labels_in_closed_form():
    # y ~ N(0, σ²), flat in log σ: n⟨y²⟩/σ² is χ² with n degrees, so that log σ has a digamma mean.
    from scipy.special import digamma, polygamma

    y = jnp.array([0.3, -0.7, 1.1, 0.2, -0.4])
    square, n = float(y @ y), len(y)

    def density(x):
        return -n * x["noise"] - 0.5 * square * jnp.exp(-2.0 * x["noise"])

    draws = nuts(density, ("noise",), np.zeros(1), np.eye(1), 500, 2)
    mean = 0.5 * (np.log(square / 2) - digamma(n / 2))
    check(draws, [mean], [[0.25 * polygamma(1, n / 2)]])


def test_the_seed_makes_the_draws():
    one, two, other = (nuts(normal, ("a", "b"), np.zeros(2), np.eye(2), 60, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.logarithms, two.logarithms)
    assert abs(one.logarithms - other.logarithms).max() > 1e-3
    assert one.thinned(7).shape == (7, 2)
    with pytest.raises(InputError, match=r"500 members.*120 draws"):
        one.thinned(500)


def test_chains_that_stay_apart_are_refused():
    def two_hills(x):
        return jnp.logaddexp(-0.5 * (x["a"] - 30.0) ** 2, -0.5 * (x["a"] + 30.0) ** 2)

    # Seed 1 starts the chains on different sides.
    with pytest.raises(InputError, match="disagree"):
        nuts(two_hills, ("a",), np.zeros(1), 30.0 * np.eye(1), 50, 1)


def test_without_blackjax_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "blackjax", None)
    with pytest.raises(InputError, match=r'pip install "gpjaxpot\[mcmc\]"'):
        nuts(normal, ("a", "b"), np.zeros(2), np.eye(2), 50, 0)
