"""Covariance blocks by plain AD against finite differences: signs, values and shapes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.covariance import blocks
from gpjaxpot.kernels import EnergyKernel, Matern52, Term
from tests.covariance.zoo import KERNELS, LESS_SMOOTH, PLACES, padded, small_structures
from tests.systems import difference_block, observed, plain_block, quick_jit, small_soap, structure


def kernel(a, b):
    """A structure kernel of no symmetry that could hide a sign: not stationary, 0.6 Å wide."""
    shape = jnp.exp(-jnp.sum((a - b) ** 2) / 0.72)
    return (1.0 + jnp.sum(jnp.sin(a))) * (1.0 + jnp.sum(jnp.sin(b))) * shape


joint = jax.jit(lambda a, b: blocks.joint(kernel, a, b))
A, B = jnp.array([0.3, -0.2]), jnp.array([0.5, 0.4])
H = 1e-4


def differences(f, x):
    """Gradient by central differences."""
    return np.array([float(f(x + e) - f(x - e)) / (2 * H) for e in H * np.eye(len(x))])


def test_energy_force_is_minus_the_slope_by_the_second():
    # cov(E, F') = cov(E, −(E'(x + h) − E'(x − h))/2h); h² truncation is 1e-8.
    expected = -differences(lambda b: kernel(A, b), B)
    np.testing.assert_allclose(blocks.energy_force(kernel, A, B), expected, atol=1e-7)
    expected = -differences(lambda a: kernel(a, B), A)
    np.testing.assert_allclose(blocks.force_energy(kernel, A, B), expected, atol=1e-7)
    np.testing.assert_allclose(blocks.force_energy(kernel, A, B), blocks.energy_force(kernel, B, A), rtol=1e-14)


def test_force_force_equals_differences_of_energy_force():
    columns = [-differences(lambda a, i=i: blocks.energy_force(kernel, a, B)[i], A) for i in range(2)]
    np.testing.assert_allclose(blocks.force_force(kernel, A, B), np.transpose(columns), atol=1e-6)


def test_force_force_product_is_the_block_times_the_weights():
    a = jax.random.normal(jax.random.key(0), (4, 3))
    b, weights = a[::-1] + 0.2, jnp.arange(12.0).reshape(4, 3)
    block = blocks.force_force(kernel, a, b)
    assert block.shape == (4, 3, 4, 3)
    # The same derivatives in another order.
    np.testing.assert_allclose(
        blocks.force_force_product(kernel, a, b, weights),
        jnp.tensordot(block, weights, 2),
        rtol=1e-12,
    )


def test_joint_puts_the_energy_first():
    full = np.asarray(joint(A, B))
    assert full[0, 0] == pytest.approx(float(kernel(A, B)))
    np.testing.assert_allclose(full[0, 1:], blocks.energy_force(kernel, A, B), rtol=1e-13)
    np.testing.assert_allclose(full[1:, 0], blocks.force_energy(kernel, A, B), rtol=1e-13)
    np.testing.assert_allclose(full[1:, 1:], blocks.force_force(kernel, A, B), rtol=1e-13)
    np.testing.assert_allclose(full, joint(B, A).T, rtol=1e-12, atol=1e-14)
    own = np.asarray(joint(A, A))
    assert np.linalg.eigvalsh(own).min() > 0


@pytest.mark.parametrize("name", KERNELS)
def test_nine_blocks_equal_finite_differences(name):
    energy_kernel = KERNELS[name]
    first, second = small_structures(energy_kernel)
    for s, t in ((first, first), (first, second)):
        block = plain_block(energy_kernel, padded(energy_kernel, s), padded(energy_kernel, t))
        block = np.asarray(block)[np.ix_(observed(len(s), PLACES), observed(len(t), PLACES))]
        expected = difference_block(energy_kernel, s, t, 3e-4)
        # Truncation is h² times fourth derivatives and round-off ε/h² = 1e-9: 1e-5 of the largest
        # entry of each of the nine blocks.  Where a structure meets itself and a third derivative
        # jumps, truncation is of first order in h.
        rtol = 2e-3 if name in LESS_SMOOTH and s is t else 1e-5
        for rows in (slice(0, 1), slice(1, -6), slice(-6, None)):
            for columns in (slice(0, 1), slice(1, -6), slice(-6, None)):
                part, judge = block[rows, columns], expected[rows, columns]
                np.testing.assert_allclose(part, judge, atol=rtol * np.abs(judge).max())


def test_a_molecule_has_no_stress():
    energy_kernel = KERNELS["ζ = 2"]
    batch = padded(energy_kernel, structure(n=4, periodic=False))
    block = np.asarray(plain_block(energy_kernel, batch, batch))
    assert np.isnan(block[-6:]).all()
    assert np.isfinite(block[:-6, :-6]).all()


def test_hyperparameter_gradients_of_a_force_variance():
    batch = padded(KERNELS["Matérn"], structure(n=3))
    direction = jnp.zeros(3 * PLACES + 9).at[4].set(1.0)

    def force_variance(sigma, ell):
        soap = eqx.tree_at(lambda d: d.sigma, small_soap(n_max=2, l_max=1), sigma)
        model = EnergyKernel((Term(soap, Matern52(ell)),))
        value = blocks.observable_kernel(model, batch, batch)

        def along(u, v):
            return value(u * direction, v * direction)

        return jax.jacfwd(jax.jacfwd(along, argnums=0), argnums=1)(0.0, 0.0)

    at, h = (jnp.array(0.5), jnp.array(0.7)), 1e-5
    both = quick_jit(lambda *x: (force_variance(*x), jax.jacfwd(force_variance, argnums=(0, 1))(*x)))
    for i, slope in enumerate(both(*at)[1]):
        ahead, behind = (both(*(x + s * h * (i == j) for j, x in enumerate(at)))[0] for s in (1, -1))
        # Truncation h² and round-off ε/h, relative to slopes of order one to ten.
        assert float(slope) == pytest.approx(float(ahead - behind) / (2 * h), rel=1e-6)
