"""Algebra of kernels, and the agreement of their two faces."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.kernels import DotPower, FunctionKernel, Matern52, Scaled, SquaredExponential
from tests.kernels.vectors import unit_vectors
from tests.systems import quick_jit

COSINE = {
    "ζ = 1": DotPower(1),
    "ζ = 2": DotPower(2),
    "ζ = 4": DotPower(4),
    "ζ = 2.5": DotPower(2.5),
    "squared exponential": SquaredExponential(0.6),
    "Matérn": Matern52(0.8),
    "sum": DotPower(2) + 0.3 * Matern52(0.5),
    "product": DotPower(2) * SquaredExponential(0.7),
    "all": 0.5 * (DotPower(3) + Matern52(1.0)) * SquaredExponential(0.9) * 2.0,
}
P, Q = jnp.asarray(unit_vectors(4)), jnp.asarray(unit_vectors(3, seed=1))


@quick_jit
def both_faces(kernel, p, q):
    return jax.vmap(jax.vmap(kernel.evaluate, (None, 1)), (1, None))(p, q), kernel.profile(p.T @ q)


@pytest.mark.parametrize("name", COSINE)
def test_profile_of_the_cosine_is_the_kernel_of_unit_vectors(name):
    kernel = COSINE[name]
    assert kernel.cosine
    plain, profile = both_faces(kernel, P, Q)
    # |p − q|² and 2 − 2 p·q differ by round-off.
    np.testing.assert_allclose(profile, plain, rtol=1e-13)
    np.testing.assert_array_equal(kernel.gram(P, Q).shape, (4, 3))
    np.testing.assert_allclose(kernel.gram(P, Q), plain, rtol=1e-13)


@pytest.mark.parametrize("name", COSINE)
def test_gram_matrices_are_positive(name):
    p = jnp.asarray(unit_vectors(12, seed=3))
    gram = np.asarray(COSINE[name].gram(p, p))
    np.testing.assert_allclose(gram, gram.T, rtol=1e-14)
    # Round-off of eigenvalues: some ε times the trace.
    assert np.linalg.eigvalsh(gram).min() > -1e-14 * np.trace(gram)


@pytest.mark.parametrize("method", ["evaluate", "profile"])
def test_algebra(method):
    a, b = DotPower(2), SquaredExponential(0.7)
    arguments = (P[:, 0], Q[:, 0]) if method == "evaluate" else (P.T @ Q,)

    def value(kernel):
        return np.asarray(getattr(kernel, method)(*arguments))

    np.testing.assert_allclose(value(a + b), value(a) + value(b), rtol=1e-15)
    np.testing.assert_allclose(value(a * b), value(a) * value(b), rtol=1e-15)
    np.testing.assert_allclose(value(0.3 * a), 0.3 * value(a), rtol=1e-15)
    np.testing.assert_array_equal(value(a * 0.3), value(0.3 * a))
    np.testing.assert_allclose(value((a + b) * b), value(a * b + b * b), rtol=1e-15)


def test_a_compound_is_of_the_cosine_only_if_all_parts_are():
    other = FunctionKernel(lambda p, q: jnp.dot(p, q))
    assert not (DotPower(2) + other).cosine
    assert not (DotPower(2) * other).cosine
    assert not (0.5 * other).cosine


@pytest.mark.parametrize("variance", [0.0, -1.0, float("nan")])
def test_a_variance_is_positive(variance):
    with pytest.raises(InputError, match="variance must be positive"):
        Scaled(DotPower(2), variance)


@pytest.mark.parametrize("name", ["squared exponential", "Matérn", "all"])
def test_gradients_by_hyperparameters_equal_finite_differences(name):
    kernel = COSINE[name]
    p = jnp.concatenate([P, P[:, :1]], 1)  # two coincident environments among them
    arrays, rest = eqx.partition(kernel, eqx.is_array)
    leaves, tree = jax.tree.flatten(arrays)

    @jax.jit
    def total(leaves):
        return jnp.sum(eqx.combine(jax.tree.unflatten(tree, leaves), rest).gram(p, Q) ** 2) + (
            jnp.sum(eqx.combine(jax.tree.unflatten(tree, leaves), rest).gram(p, p) ** 2)
        )

    gradient = jax.jit(jax.grad(total))(leaves)
    h = 1e-6
    for i, slope in enumerate(gradient):
        ahead, behind = ([x + s * h * (i == j) for j, x in enumerate(leaves)] for s in (1, -1))
        # ε/h of a sum of some tens.
        assert float(slope) == pytest.approx(float(total(ahead) - total(behind)) / (2 * h), abs=1e-7)
