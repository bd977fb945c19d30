"""Coefficients of polynomial kernels, against the kernels' own profiles."""

import jax.numpy as jnp
import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.kernels.polynomial import degree, polynomial

ONE, TWO = gp.DotPower(1), gp.DotPower(2)


@pytest.mark.parametrize(
    ("kernel", "powers"),
    [
        (ONE, {1}),
        (0.3 * TWO, {2}),
        (0.5 * ONE + 2.0 * (TWO + 0.1 * ONE), {1, 2}),
        ((2.0 * ONE) * (ONE + 3.0 * TWO), {2, 3}),
        (gp.DotPower(4), {4}),
    ],
)
def test_the_sum_of_powers_is_the_profile(kernel, powers):
    found = polynomial(kernel)
    assert set(found) == powers
    assert degree(kernel) == max(powers)
    t = jnp.linspace(-1.0, 1.0, 9)
    np.testing.assert_allclose(sum(c * t**n for n, c in found.items()), kernel.profile(t), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kernel", [gp.DotPower(2.5), gp.Matern52(1.0), TWO + gp.SquaredExponential(1.0)])
def test_others_are_none(kernel):
    assert polynomial(kernel) is None
    assert degree(kernel) is None
    assert polynomial(TWO * kernel) is None
