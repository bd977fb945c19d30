"""Coupling of species, several terms, and what may not be combined."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.kernels import DotPower, EnergyKernel, FunctionKernel, Matern52, Term
from tests.kernels.vectors import unit_vectors
from tests.systems import SILICON, WATER, small_soap

SIMILAR = jnp.array([[1.0, 0.4], [0.4, 0.9]])
SPECIES_P, SPECIES_Q = jnp.array([0, 1, 1, 0]), jnp.array([1, 0, 1])


def terms(species=WATER):
    short = small_soap(species, cutoff=2.5)
    return Term(small_soap(species), DotPower(2)), Term(short, Matern52(0.7))


def gram(kernel):
    p = tuple(jnp.asarray(unit_vectors(4, seed=i)) for i in range(2))
    q = tuple(jnp.asarray(unit_vectors(3, seed=5 + i)) for i in range(2))
    parts = [t.kernel.gram(a, b) for t, a, b in zip(kernel.terms, p, q, strict=False)]
    return kernel.gram(p[: len(parts)], q[: len(parts)], SPECIES_P, SPECIES_Q), parts


def test_terms_add_up_and_like_couples_to_like():
    value, parts = gram(EnergyKernel(terms()))
    like = np.asarray(SPECIES_P)[:, None] == np.asarray(SPECIES_Q)
    np.testing.assert_allclose(value, sum(parts) * like, rtol=1e-15)
    same, _ = gram(EnergyKernel(terms(), jnp.eye(2)))
    np.testing.assert_array_equal(value, same)
    assert EnergyKernel(terms()).reach == 3.5


def test_similarity_couples_species():
    value, parts = gram(EnergyKernel(terms(), SIMILAR))
    expected = sum(parts) * np.asarray(SIMILAR)[np.asarray(SPECIES_P)][:, np.asarray(SPECIES_Q)]
    np.testing.assert_allclose(value, expected, rtol=1e-15)


def test_gradient_by_similarity_is_finite():
    # Inside a transformation the matrix has no values, so they cannot be checked there.
    gradient = jax.jit(jax.grad(lambda c: jnp.sum(gram(EnergyKernel(terms(), c))[0])))(SIMILAR)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), "2 × 2"),
        ([[1.0, 0.5], [0.2, 1.0]], "symmetric"),
        ([[1.0, 1.5], [1.5, 1.0]], "positive semidefinite"),
        ([[1.0, np.nan], [np.nan, 1.0]], "symmetric"),
    ],
)
def test_impossible_similarities_are_refused(matrix, message):
    with pytest.raises(InputError, match=message):
        EnergyKernel(terms(), jnp.asarray(matrix))


def test_impossible_terms_are_refused():
    with pytest.raises(InputError, match="at least one"):
        EnergyKernel(())
    with pytest.raises(InputError, match="same species"):
        EnergyKernel((terms(WATER)[0], terms(SILICON)[1]))
    raw = small_soap(WATER, dscribe=True)
    with pytest.raises(InputError, match="unit length"):
        EnergyKernel((Term(raw, DotPower(2)),))
    EnergyKernel((Term(raw, FunctionKernel(jnp.dot)),))  # which knows no such thing
