"""The power of the cosine: which ζ, and its derivatives where vectors do not overlap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.kernels import DotPower


@pytest.mark.parametrize("zeta", [0, 0.5, 1.5, 1.999, -2, float("nan")])
def test_forbidden_powers(zeta):
    with pytest.raises(InputError, match="zeta must be 1 or at least 2"):
        DotPower(zeta)


@pytest.mark.parametrize("zeta", [1, 2, 2.5, 3, 4, 6.2])
def test_derivatives_are_those_of_the_power(zeta):
    t = jnp.linspace(0.05, 1.0, 20)
    slope = jax.vmap(jax.grad(DotPower(zeta).profile))
    curvature = jax.vmap(jax.grad(jax.grad(DotPower(zeta).profile)))
    np.testing.assert_allclose(DotPower(zeta).profile(t), t**zeta, rtol=1e-14)
    np.testing.assert_allclose(slope(t), zeta * t ** (zeta - 1), rtol=1e-13)
    np.testing.assert_allclose(curvature(t), zeta * (zeta - 1) * t ** (zeta - 2), rtol=1e-12)


@pytest.mark.parametrize(("zeta", "slope", "curvature"), [(1, 1, 0), (2, 0, 2), (2.5, 0, 0)])
def test_at_no_overlap(zeta, slope, curvature):
    # Where a clipped power would give NaN, or half of the curvature of ζ = 2.
    t = jnp.array(0.0)
    profile = DotPower(zeta).profile
    assert profile(t) == 0.0
    assert jax.grad(profile)(t) == slope
    assert jax.grad(jax.grad(profile))(t) == curvature


def test_round_off_below_zero_is_zero_for_a_power_that_is_no_integer():
    t = jnp.array(-1e-17)
    profile = DotPower(2.5).profile
    assert profile(t) == jax.grad(profile)(t) == jax.grad(jax.grad(profile))(t) == 0.0


def test_an_integer_power_keeps_the_sign():
    assert DotPower(3.0).profile(jnp.array(-0.5)) == -0.125
