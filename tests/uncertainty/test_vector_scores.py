"""Vector scores against closed forms, scipy, and their invariance under rotation."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.spatial.transform import Rotation

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty import scores, vector_scores


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
