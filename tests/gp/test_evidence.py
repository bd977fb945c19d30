"""Log marginal likelihoods: equal to the posteriors', and their gradients to finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.gp.evidence import (
    exact_log_marginal_likelihood,
    fitc_log_marginal_likelihood,
    sparse_log_marginal_likelihood,
    variational_bound,
)
from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.sparse import SparsePosterior
from gpjaxpot.kernels import Matern52

X = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 15)))
U = X[:, ::3]
Y = jnp.sin(3 * X[0]) + X[1] ** 2
START = {"variance": jnp.array(0.8), "ell": jnp.array(0.9), "noise": jnp.array(0.05)}


def kernel(p):
    return p["variance"] * Matern52(p["ell"])


def gram(p, a, b):
    return jax.vmap(jax.vmap(kernel(p).evaluate, (None, 1)), (1, None))(a, b)


def noise(p):
    return p["noise"] * jnp.linspace(0.5, 1.5, 15)


def exact(p):
    return exact_log_marginal_likelihood(gram(p, X, X), noise(p), Y)


def sparse(p):
    return sparse_log_marginal_likelihood(gram(p, U, U), gram(p, X, U), noise(p), Y)


def with_prior(evidence):
    def value(p):
        return evidence(gram(p, U, U), gram(p, X, U), jnp.diagonal(gram(p, X, X)), noise(p), Y)

    return value


fitc, bound = with_prior(fitc_log_marginal_likelihood), with_prior(variational_bound)


def by_brute_force(p):
    """The exact, DTC, FITC and VFE values from dense matrices, by NumPy alone."""
    full, cross, inner = (np.asarray(gram(p, a, b)) for a, b in ((X, X), (X, U), (U, U)))
    q, s, y = cross @ np.linalg.solve(inner, cross.T), np.diag(np.asarray(noise(p))), np.asarray(Y)

    def density(c):
        return -0.5 * (y @ np.linalg.solve(c, y) + np.linalg.slogdet(2 * np.pi * c)[1])

    spare = np.diag(full) - np.diag(q)
    dtc = density(q + s)
    return density(full + s), dtc, density(q + np.diag(spare) + s), dtc - 0.5 * np.sum(spare / np.diag(s))


def test_equal_dense_formulas():
    values = [float(e(START)) for e in (exact, sparse, fitc, bound)]
    np.testing.assert_allclose(values, by_brute_force(START), rtol=1e-8)


def test_the_bound_is_one_and_is_reached_by_all_points():
    assert float(bound(START)) < float(exact(START))
    p = START
    whole = gram(p, X, X)
    reached = variational_bound(whole, whole, jnp.diagonal(whole), noise(p), Y)
    assert float(reached) == pytest.approx(float(exact(START)), abs=1e-6)


def test_equal_those_of_the_posteriors():
    p = START
    posterior = ExactPosterior.condition(gram(p, X, X), noise(p), Y)
    assert float(exact(p)) == pytest.approx(float(posterior.log_marginal_likelihood), abs=1e-10)
    posterior = SparsePosterior.condition(gram(p, U, U), gram(p, X, U), noise(p), Y)
    # The function regularises K_uu by 1e-12 of its scale.
    assert float(sparse(p)) == pytest.approx(float(posterior.log_marginal_likelihood), abs=1e-8)


@pytest.mark.parametrize("evidence", [exact, sparse, fitc, bound])
def test_gradient_equals_finite_differences(evidence):
    value = jax.jit(evidence)
    gradient = jax.jit(jax.grad(evidence))(START)
    h = 1e-5
    for name, slope in gradient.items():
        ahead, behind = (value(START | {name: START[name] + s * h}) for s in (1, -1))
        # Truncation h² times third derivatives of up to 1e5, and round-off ε |value|/h.
        assert float(slope) == pytest.approx(float(ahead - behind) / (2 * h), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("evidence", [exact, sparse, fitc, bound])
def test_has_a_second_derivative(evidence):
    # Laplace's approximation of a hyperparameter's posterior needs it.
    hessian = jax.jit(jax.hessian(evidence))(START)
    assert all(np.isfinite(leaf) for leaf in jax.tree.leaves(hessian))
