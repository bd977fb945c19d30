"""Ellipsoids against the numbers of the specification, their law, and rotations."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from gpjaxpot.uncertainty.conformal import conformal_quantile
from gpjaxpot.uncertainty.ellipsoid import Ellipsoid
from gpjaxpot.uncertainty.vector_scores import mahalanobis_squared

COVARIANCE = np.array([[0.04, 0.01, 0.0], [0.01, 0.09, 0.02], [0.0, 0.02, 0.16]])


def test_volume_and_half_widths_of_the_specification():
    made = Ellipsoid(np.zeros(3), COVARIANCE, 1.91)
    assert_allclose(made.volume, 0.6807508008, rtol=1e-9)
    assert_allclose(made.half_widths, [0.382, 0.573, 0.764], rtol=1e-12)


def test_axes_end_on_the_surface():
    made = Ellipsoid(np.array([0.1, -0.2, 0.3]), COVARIANCE, 1.5)
    lengths, directions = made.axes
    for length, direction in zip(lengths, directions.T, strict=True):
        assert made.contains(made.centre + 0.999999 * length * direction)
        assert not made.contains(made.centre + 1.000001 * length * direction)


def test_as_many_vectors_lie_inside_as_the_level_says():
    generator = np.random.default_rng(0)
    factor = np.linalg.cholesky(COVARIANCE)
    errors = generator.normal(size=(4000, 3)) @ factor.T
    lengths = np.sqrt(mahalanobis_squared(errors, np.broadcast_to(COVARIANCE, (4000, 3, 3))))
    made = Ellipsoid(np.zeros(3), COVARIANCE, conformal_quantile(lengths, 0.9))
    assert_allclose(made.radius, 2.5003, rtol=0.03)
    assert_allclose(np.mean(made.contains(generator.normal(size=(20_000, 3)) @ factor.T)), 0.9, atol=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_it_turns_with_the_vectors(seed):
    turn = Rotation.random(random_state=seed).as_matrix()
    generator = np.random.default_rng(seed)
    centre, points = generator.normal(size=3), generator.normal(size=(100, 3))
    made = Ellipsoid(centre, COVARIANCE, 1.2)
    turned = Ellipsoid(turn @ centre, turn @ COVARIANCE @ turn.T, 1.2)
    assert np.array_equal(made.contains(points), turned.contains(points @ turn.T))
    assert_allclose(turned.volume, made.volume, rtol=1e-10)


def test_a_flat_one_holds_its_plane_alone():
    made = Ellipsoid(np.zeros(3), np.diag([0.04, 0.09, 0.0]), 2.0)
    assert made.contains(np.array([0.3, 0.0, 0.0]))
    assert not made.contains(np.array([0.3, 0.0, 0.01]))
    assert made.volume == 0.0


def test_no_bound_is_the_whole_space():
    made = Ellipsoid(np.zeros(3), COVARIANCE, np.inf)
    assert np.all(made.contains(np.array([[1e6, 0.0, 0.0]])))
