"""Vector scores against closed forms, scipy, and their invariance under rotation."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.spatial.transform import Rotation

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty import scores, vector_scores
from gpjaxpot.uncertainty.ellipsoid import Ellipsoid


@pytest.fixture
def vectors():
    """Five thousand residuals drawn from their own anisotropic covariances."""
    rng = np.random.default_rng(3)
    factor = rng.normal(size=(5000, 3, 3)) * 0.1 + 0.05 * np.eye(3)
    residual = np.einsum("nij,nj->ni", factor, rng.normal(size=(5000, 3)))
    return residual, factor @ factor.transpose(0, 2, 1) + 1e-12 * np.eye(3)


def test_three_dimensional_likelihood():
    """Worked by hand for a diagonal covariance (`AT-9`)."""
    residual = np.array([[0.1, -0.1, 0.2]])
    covariance = np.diag([0.01, 0.02, 0.03])[None]
    assert_allclose(vector_scores.vector_nll(residual, covariance), -1.8383932781, atol=1e-9)


def test_likelihood_agrees_with_scipy(vectors):
    """Scipy's multivariate normal, one atom at a time; ill-conditioned Σ cost a few digits."""
    residual, covariance = vectors[0][:50], vectors[1][:50]
    expected = [
        -stats.multivariate_normal(cov=c, allow_singular=True).logpdf(r)
        for r, c in zip(residual, covariance, strict=True)
    ]
    assert_allclose(vector_scores.vector_nll(residual, covariance), np.mean(expected), rtol=1e-6)


def test_mahalanobis_distance_with_a_full_covariance():
    """The dropout example of the specification (`AT-7`), printed to ten decimals."""
    covariance = 1e-4 * np.array(
        [[20 / 3, -22 / 3, -20 / 3], [-22 / 3, 26 / 3, 23 / 3], [-20 / 3, 23 / 3, 7.0]]
    )
    squared = vector_scores.mahalanobis_squared(
        np.array([[0.04, 0.11, -0.015]]), (covariance + np.eye(3) / 400)[None]
    )
    assert_allclose(np.sqrt(squared), [2.2910135124], atol=1e-6)


def test_four_samples_of_a_force_and_their_noise():
    """Mean and covariance of samples of one network with neurons left out, and a noise of precision 400.

    Source: Gal & Ghahramani, ICML (2016), for the noise that is added.  Numbers are given to nine digits.
    """
    samples = np.array([[0.10, -0.20, 0.05], [0.14, -0.25, 0.00], [0.08, -0.18, 0.06], [0.12, -0.21, 0.03]])
    centre, covariance = samples.mean(0), np.cov(samples.T)
    assert_allclose(centre, [0.11, -0.21, 0.035], atol=1e-15)
    expected = [[6.666667, -7.333333, -6.666667], [-7.333333, 8.666667, 7.666667], [-6.666667, 7.666667, 7.0]]
    assert_allclose(1e4 * covariance, expected, atol=5e-7)
    total, residual = covariance + np.eye(3) / 400, np.array([0.04, 0.11, -0.015])
    length = 2.2910135124
    region = Ellipsoid(centre, total, length)
    assert_allclose(region.volume / (4 / 3 * math.pi * length**3), math.sqrt(2.97867037e-8), rtol=2e-9)
    # Nothing is more certain than the noise allows.
    assert np.all(region.axes[0] >= length / 20)
    assert_allclose(vector_scores.mahalanobis_squared(residual[None], total[None]), [length**2], rtol=1e-10)
    # The error ends on the surface of the region of that length.
    assert Ellipsoid(centre, total, length * (1 + 1e-9)).contains(centre + residual)
    assert not Ellipsoid(centre, total, length * (1 - 1e-9)).contains(centre + residual)
    likelihood = 0.5 * (3 * math.log(2 * math.pi) + math.log(2.97867037e-8) + length**2)
    assert_allclose(vector_scores.vector_nll(residual[None], total[None]), likelihood, rtol=1e-8)


def test_calibrated_vectors_are_covered_as_promised(vectors):
    """A binomial share of 5 000 has a standard deviation below 0.0071; three of them."""
    for level, share in vector_scores.mahalanobis_coverage(*vectors).items():
        assert_allclose(share, float(level), atol=0.021)
    uniform = vector_scores.vector_pit(*vectors)
    assert scores.ks_from_pit(uniform) < 1.63 / math.sqrt(5000)  # the 1 % point of the test


def test_scores_do_not_depend_on_orientation(vectors):
    """Rotating residual and covariance together changes rounding only."""
    residual, covariance = vectors[0][:200], vectors[1][:200] + 1e-3 * np.eye(3)
    turn = Rotation.from_rotvec([0.3, -1.1, 0.4]).as_matrix()
    assert_allclose(
        vector_scores.vector_nll(residual @ turn.T, turn @ covariance @ turn.T),
        vector_scores.vector_nll(residual, covariance),
        rtol=1e-11,
    )


def test_a_covariance_without_inverse_is_refused():
    """Symmetric sites have one; the noise term is what the caller forgot."""
    with pytest.raises(InputError, match="add the noise variance"):
        vector_scores.mahalanobis_squared(np.ones((1, 3)), np.diag([1.0, 1.0, 0.0])[None])


def test_no_vectors_are_refused():
    """The mean over nothing is not a score."""
    with pytest.raises(InputError, match="no vectors"):
        vector_scores.vector_nll(np.zeros((0, 3)), np.zeros((0, 3, 3)))
