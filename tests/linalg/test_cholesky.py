"""Cholesky factors: solves, determinants, and how much jitter they take."""

import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.linalg.cholesky import factorise


def positive(n, rank=None, seed=0):
    a = np.random.default_rng(seed).normal(size=(n, rank or 2 * n))
    return a @ a.T


def test_solves_and_determinant():
    a, b = positive(6), np.random.default_rng(1).normal(size=(6, 2))
    factor = factorise(jnp.asarray(a))
    assert factor.jitter == 0.0
    # The condition number is about 1e2.
    np.testing.assert_allclose(factor.solve(jnp.asarray(b)), np.linalg.solve(a, b), rtol=1e-10)
    half = np.asarray(factor.half_solve(jnp.asarray(b)))
    np.testing.assert_allclose(half.T @ half, b.T @ np.linalg.solve(a, b), rtol=1e-10)
    assert float(factor.log_determinant) == pytest.approx(np.linalg.slogdet(a)[1], rel=1e-12)


def test_a_singular_matrix_takes_a_recorded_jitter():
    a = positive(6, rank=3)
    factor = factorise(jnp.asarray(a))
    assert 0 < factor.jitter <= 1e-8 * np.trace(a) / 6
    lower = np.asarray(factor.lower)
    np.testing.assert_allclose(lower @ lower.T, a + factor.jitter * np.eye(6), atol=1e-13 * a.max())


def test_no_more_jitter_than_is_allowed():
    with pytest.raises(InputError, match="not positive definite"):
        factorise(jnp.asarray(positive(6, rank=3)), largest_jitter=0.0)
    with pytest.raises(InputError, match="raise the noise"):
        factorise(jnp.diag(jnp.array([1.0, -1.0])))


def test_not_a_number_is_refused():
    with pytest.raises(InputError, match="not positive definite"):
        factorise(jnp.full((2, 2), jnp.nan))
