"""Matrix products inside and outside of transformations."""

import jax
import jax.numpy as jnp
import numpy as np

from gpjaxpot.linalg.products import multiply

A = jax.random.normal(jax.random.key(0), (7, 5))
B = jax.random.normal(jax.random.key(1), (5, 3))


def test_product_with_and_without_jit():
    plain, compiled = multiply(A, B), jax.jit(multiply)(A, B)
    assert isinstance(plain, jax.Array)
    for actual in (plain, compiled):
        np.testing.assert_allclose(actual, np.asarray(A) @ np.asarray(B), rtol=1e-13, atol=1e-15)  # order of sums


def test_differentiable():
    gradient = jax.grad(lambda a: jnp.sum(multiply(a, B) ** 2))(A)
    np.testing.assert_allclose(gradient, 2 * (A @ B) @ B.T, rtol=1e-12)
