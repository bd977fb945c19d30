"""A kernel of the user's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.kernels import DotPower, FunctionKernel
from tests.kernels.vectors import unit_vectors

P, Q = jnp.asarray(unit_vectors(4)), jnp.asarray(unit_vectors(3, seed=1))


def test_equals_the_built_in_kernel_it_repeats():
    own = FunctionKernel(lambda p, q: jnp.dot(p, q) ** 3)
    assert not own.cosine
    np.testing.assert_allclose(own.gram(P, Q), DotPower(3).gram(P, Q), rtol=1e-14)
    compound = 0.5 * own + own * own
    expected = 0.5 * DotPower(3) + DotPower(6)
    np.testing.assert_allclose(compound.gram(P, Q), expected.gram(P, Q), rtol=1e-14)


def test_parameters_can_be_learned():
    def function(p, q, parameters):
        return parameters["a"] * jnp.dot(p, q) ** 2

    def total(kernel):
        return jnp.sum(kernel.gram(P, Q))

    kernel = FunctionKernel(function, {"a": 0.7})
    assert float(total(kernel)) == pytest.approx(0.7 * float(jnp.sum((P.T @ Q) ** 2)))
    gradient = jax.grad(total)(kernel)
    assert float(gradient.parameters["a"]) == pytest.approx(float(jnp.sum((P.T @ Q) ** 2)))


def test_a_function_that_returns_no_scalar_is_refused():
    with pytest.raises(InputError, match="one number"):
        FunctionKernel(lambda p, q: p * q).evaluate(P[:, 0], Q[:, 0])


def test_no_profile():
    with pytest.raises(InputError, match="no profile"):
        FunctionKernel(jnp.dot).profile(P.T @ Q)
