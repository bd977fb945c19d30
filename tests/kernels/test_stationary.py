"""Kernels of the distance, at coincidence above all: covariances of forces by nested AD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gamma, kv

from gpjaxpot.covariance import blocks
from gpjaxpot.errors import InputError
from gpjaxpot.kernels import Matern52, SquaredExponential

SIGMA2, ELL = 1.7, 0.6


def matern(a, b):
    return SIGMA2 * Matern52(ELL).evaluate(a, b)


value = jax.jit(matern)
energy_force = jax.jit(lambda a, b: blocks.energy_force(matern, a, b))
force_force = jax.jit(lambda a, b: blocks.force_force(matern, a, b))


def test_matern_equals_the_bessel_form():
    r = np.linspace(0.05, 3.0, 30)
    x = np.sqrt(5.0) * r / ELL
    expected = 2 ** (1 - 2.5) / gamma(2.5) * x**2.5 * kv(2.5, x)
    actual = [float(Matern52(ELL).evaluate(jnp.array([d]), jnp.zeros(1))) for d in r]
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("dimension", [1, 2])
def test_matern_force_variance_at_coincidence(dimension):
    # −k''(0) = 5σ²/(3ℓ²) in each direction, none between directions: by hand from the series.
    x = jnp.linspace(0.1, 0.7, dimension)
    block = force_force(x, x)
    expected = 5.0 * SIGMA2 / (3.0 * ELL**2) * np.eye(dimension)
    np.testing.assert_allclose(block, expected, rtol=1e-14, atol=1e-14)
    np.testing.assert_array_equal(energy_force(x, x), 0.0)


@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e-5, 0.02, 0.8])
def test_matern_blocks_equal_finite_differences(distance):
    a = jnp.array([0.3, -0.2])
    b = a + distance * jnp.array([0.6, 0.8])
    h = 1e-4
    steps = h * np.concatenate([np.zeros((1, 2)), np.eye(2), -np.eye(2)])
    values = np.array([[float(value(a + s, b + t)) for t in steps] for s in steps])
    slope = (np.eye(5)[1:3] - np.eye(5)[3:5]) / (2 * h)
    # The third derivative of k jumps at coincidence, by 5^(3/2) 4σ²/(3ℓ³) /2 ~ 60: error 60 h.
    np.testing.assert_allclose(force_force(a, b), slope @ values @ slope.T, atol=1e-2)
    np.testing.assert_allclose(energy_force(a, b), -slope @ values[0], atol=1e-6)


def test_matern_curvature_is_continuous_at_coincidence():
    a = jnp.array([0.3, -0.2])
    near = force_force(a, a + 1e-9)
    # 60 × 1e-9, the jump of the third derivative times the distance.
    np.testing.assert_allclose(near, force_force(a, a), atol=1e-6)


def test_matern_profile_where_vectors_coincide():
    # 1 − s/6 + s²/24 − … with s = 10 (1 − t)/ℓ² = x²; round-off may make t = 1 + ε.
    profile = Matern52(ELL).profile
    c = 10.0 / ELL**2
    for t in (jnp.array(1.0), jnp.array(1.0 + 2.3e-16)):
        assert float(profile(t)) == pytest.approx(1.0, abs=1e-14)
        assert float(jax.grad(profile)(t)) == pytest.approx(c / 6, rel=1e-12)
        assert float(jax.grad(jax.grad(profile))(t)) == pytest.approx(c**2 / 12, rel=1e-12)


@pytest.mark.parametrize("kernel", [Matern52, SquaredExponential])
def test_forces_by_a_length_scale_have_finite_gradients_at_coincidence(kernel):
    x = jnp.array([0.3, -0.2])

    @jax.grad
    def slope(ell):
        return jnp.trace(blocks.force_force(kernel(ell).evaluate, x, x))

    # c d / ℓ² with c = 5/3 or 1 and d = 2, so its slope is −2 c d / ℓ³.
    c = 5.0 / 3.0 if kernel is Matern52 else 1.0
    assert float(jax.jit(slope)(jnp.array(ELL))) == pytest.approx(-4 * c / ELL**3)


def test_squared_exponential_force_variance():
    def k(a, b):
        return SIGMA2 * SquaredExponential(ELL).evaluate(a, b)

    x = jnp.array([0.4, 1.0])
    np.testing.assert_allclose(blocks.force_force(k, x, x), SIGMA2 / ELL**2 * np.eye(2), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kernel", [Matern52, SquaredExponential])
@pytest.mark.parametrize("length", [0.0, -1.0, float("nan")])
def test_a_length_scale_is_positive(kernel, length):
    with pytest.raises(InputError, match="length_scale must be positive"):
        kernel(length)
