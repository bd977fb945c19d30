"""Laplace's approximation: exact for normal densities, close for an evidence that many data make, refused elsewhere."""

import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.gp.laplace import climb, laplace, with_prior
from tests.gp.evidences import COVARIANCE, MEAN, few_labels, grid_moments, many_labels, normal


def test_a_normal_density_is_itself():
    found = laplace(normal, {"a": 1.0, "b": 1.0})
    np.testing.assert_allclose(found.mode, MEAN, atol=1e-8)
    np.testing.assert_allclose(found.covariance, COVARIANCE, rtol=1e-10)
    points = found.points(6, 0)
    assert found.misfit(normal, points) < 1e-10


def test_without_evidence_the_prior_is_left():
    density = with_prior(lambda x: 0.0 * x["a"], {"a": 3.0, "b": 0.2}, 0.7)
    found = laplace(density, {"a": 1.0, "b": 1.0})
    np.testing.assert_allclose(found.mode, np.log([3.0, 0.2]), atol=1e-8)
    np.testing.assert_allclose(found.covariance, 0.49 * np.eye(2), atol=1e-10)


@pytest.mark.parametrize("n", [4, 6, 20])
def test_points_have_the_mean_and_the_covariance(n):
    found = laplace(normal, {"a": 1.0, "b": 1.0})
    points = found.points(n, 3)
    assert points.shape == (n, 2)
    np.testing.assert_allclose(points.mean(0), found.mode, atol=1e-12)
    np.testing.assert_allclose(np.cov(points.T, ddof=0), found.covariance, atol=1e-12)
    np.testing.assert_array_equal(points, found.points(n, 3))
    assert abs(points - found.points(n, 4)).max() > 1e-3


@pytest.mark.parametrize("n", [2, 5])
def test_points_that_cannot_have_them_are_refused(n):
    with pytest.raises(InputError, match=rf"{n} members.*a, b.*even number, at least 4"):
        laplace(normal, {"a": 1.0, "b": 1.0}).points(n, 0)


def test_a_start_in_the_tail_where_the_curvature_is_upwards():
    # −log(1 + x²) is curved upwards beyond |x| = 1: plain Newton would walk away.
    found = laplace(lambda x: -jnp.log1p(x["a"] ** 2), {"a": np.exp(4.0)})
    assert found.mode[0] == pytest.approx(0.0, abs=1e-6)
    assert found.covariance[0, 0] == pytest.approx(0.5)


def test_the_higher_of_two_maxima_is_taken():
    # Two hills 5 apart, the farther one 3 higher and narrower: evidences of small sets have them.
    def hills(x):
        a, b = x["a"], x["b"]
        return jnp.logaddexp(-0.5 * a**2, 3.0 - 0.5 * ((a - 5.0) / 0.6) ** 2) - 0.5 * (b - 0.1 * a) ** 2

    assert climb(hills, {"a": 1.0, "b": 1.0}).mode[0] == pytest.approx(0.0, abs=1e-3)
    found = laplace(hills, {"a": 1.0, "b": 1.0})
    np.testing.assert_allclose(found.mode, [5.0, 0.5], atol=1e-3)
    assert found.covariance[0, 0] == pytest.approx(0.36, rel=1e-3)


@pytest.mark.parametrize(
    ("density", "message"),
    [
        (lambda x: 2.0 * x["a"] - x["b"] ** 2, "no maximum"),
        (lambda x: x["a"] ** 2 - x["b"] ** 2, "not curved downwards"),
        (lambda x: -(x["b"] ** 2) + 0.0 * x["a"], "not curved downwards"),
        (lambda x: jnp.log(x["a"] - 1.0) + x["b"], "not finite"),
    ],
)
def test_where_there_is_no_such_normal_distribution_it_says_so(density, message):
    with pytest.raises(InputError, match=rf"{message}.*hyper.method=nuts"):
        laplace(density, {"a": 1.0, "b": 1.5})


def test_close_to_quadrature_where_there_are_many_labels():
    # Skewness falls as 1/√n: with 60 labels the means differ by a share of the widths.
    mean, covariance = grid_moments(many_labels)
    found = laplace(many_labels, {"variance": 1.0, "noise": 0.1})
    np.testing.assert_allclose(found.mode, mean, atol=0.35 * np.sqrt(np.diag(covariance)).max())
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), np.sqrt(np.diag(covariance)), rtol=0.15)


def test_the_misfit_tells_few_labels_from_many():
    worst = []
    for density in (few_labels, many_labels):
        found = laplace(density, {"variance": 1.0, "noise": 0.1})
        worst.append(found.misfit(density, found.points(8, 0)))
    # It falls about as 1/√n, here from 6 labels to 60.
    assert worst[0] > 2.0 * worst[1]
