"""Solid harmonics against scipy, and their behaviour where angles are not defined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sph_harm_y

from gpjaxpot.descriptors.harmonics import gradient_matrices, solid_harmonics

L_MAX = 8
solid = jax.jit(lambda r: solid_harmonics(r, L_MAX))
laplace = jax.jit(jax.hessian(lambda r: solid_harmonics(r, 5)))


@pytest.fixture(scope="module")
def points():
    """Directions in all octants, on the axes and on the coordinate planes; lengths 0.2 to 3."""
    rng = np.random.default_rng(0)
    special = np.array([[0, 0, 1], [0, 0, -1], [1, 0, 0], [0, -1, 0], [1, 1, 0], [0, 1, -1]])
    r = np.concatenate([rng.normal(size=(40, 3)), special])
    r /= np.linalg.norm(r, axis=1, keepdims=True)
    return (r * rng.uniform(0.2, 3.0, (len(r), 1))).T


def real_harmonics(l, r):
    """Orthonormal, cos mφ for m > 0 and sin |m|φ for m < 0, without Condon–Shortley phase."""
    theta = np.arccos(r[2] / np.linalg.norm(r, axis=0))
    phi = np.arctan2(r[1], r[0])
    rows = []
    for m in range(-l, l + 1):
        y = sph_harm_y(l, abs(m), theta, phi)
        part = y.real if m >= 0 else y.imag
        rows.append(part if m == 0 else np.sqrt(2.0) * (-1) ** m * part)
    return np.array(rows)


def test_equals_scipy(points):
    length = np.linalg.norm(points, axis=0)
    for l, ours in enumerate(solid(jnp.asarray(points))):
        # A few dozen operations on numbers of order one; arccos loses digits near the poles.
        np.testing.assert_allclose(ours / length**l, real_harmonics(l, points), atol=1e-12)


def test_gradients_are_harmonics_one_degree_lower(points):
    r = jnp.asarray(points)
    by_ad = jax.jit(jax.vmap(jax.jacfwd(lambda r: solid_harmonics(r, L_MAX)), 1, -1))(r)
    lower = solid(r)
    for l in range(1, L_MAX + 1):
        ours = np.einsum("bmn,na->mba", gradient_matrices(l), lower[l - 1])
        np.testing.assert_allclose(ours, by_ad[l], atol=1e-13 * np.abs(by_ad[l]).max())


def test_addition_theorem(points):
    length = np.linalg.norm(points, axis=0)
    for l, ours in enumerate(solid(jnp.asarray(points))):
        expected = (2 * l + 1) / (4 * np.pi) * length ** (2 * l)
        np.testing.assert_allclose(np.sum(np.asarray(ours) ** 2, axis=0), expected, rtol=1e-12)


@pytest.mark.parametrize("point", [(0, 0, 0), (0, 0, 1.3), (0, 0, -1.3), (0.4, -0.2, 0.7)])
def test_laplacian_vanishes(point):
    # True of r^l Y_lm alone; on the z axis and at the origin formulas in angles would give NaN.
    hessian = laplace(jnp.array(point, float))
    for l in range(6):
        assert np.isfinite(hessian[l]).all()
        # Round-off of second derivatives, which are of size l² = 25 and less.
        np.testing.assert_allclose(np.trace(hessian[l], axis1=-2, axis2=-1), 0.0, atol=1e-12)
