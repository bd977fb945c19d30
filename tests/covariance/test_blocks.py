"""Covariance blocks by plain AD against hand calculation and finite differences: signs and shapes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.covariance import blocks
from tests.covariance.zoo import KERNELS
from tests.systems import batch_of, difference_block, observed, plain_block, structure


def kernel(a, b):
    """A structure kernel of no symmetry that could hide a sign: not stationary, 0.6 Å wide."""
    shape = jnp.exp(-jnp.sum((a - b) ** 2) / 0.72)
    return (1.0 + jnp.sum(jnp.sin(a))) * (1.0 + jnp.sum(jnp.sin(b))) * shape


SLOTS = {1: (36,), 2: (20, 20)}
LESS_SMOOTH = ("Matérn", "compound", "two species and terms, similar")
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
    np.testing.assert_allclose(
        blocks.force_energy(kernel, A, B), blocks.energy_force(kernel, B, A), rtol=1e-14
    )


def test_force_force_equals_differences_of_energy_force():
    columns = [
        -differences(lambda a, i=i: blocks.energy_force(kernel, a, B)[i], A) for i in range(2)
    ]
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
    joint = np.asarray(blocks.joint(kernel, A, B))
    assert joint[0, 0] == pytest.approx(float(kernel(A, B)))
    np.testing.assert_array_equal(joint[0, 1:], blocks.energy_force(kernel, A, B))
    np.testing.assert_array_equal(joint[1:, 0], blocks.force_energy(kernel, A, B))
    np.testing.assert_array_equal(joint[1:, 1:], blocks.force_force(kernel, A, B))
    np.testing.assert_allclose(joint, blocks.joint(kernel, B, A).T, rtol=1e-12, atol=1e-14)
    own = np.asarray(blocks.joint(kernel, A, A))
    assert np.linalg.eigvalsh(own).min() > 0


@pytest.mark.parametrize("name", KERNELS)
def test_nine_blocks_equal_finite_differences(name):
    energy_kernel = KERNELS[name]
    species = energy_kernel.species
    first, second = structure(species, 3), structure(species, 4, seed=5)
    a, b = (batch_of(s, species, 3.5, slots=SLOTS[len(species)], atoms=4) for s in (first, second))
    for (s, x), (t, y) in [((first, a), (first, a)), ((first, a), (second, b))]:
        block = np.asarray(plain_block(energy_kernel, x, y))
        block = block[np.ix_(observed(len(s), 4), observed(len(t), 4))]
        expected = difference_block(energy_kernel, s, t)
        # Steps of 1e-3 leave h² times fourth derivatives and ε/h² = 1e-10: 1e-5 of the largest
        # entry of each of the nine blocks.  Matérn's third derivative jumps at coincidence, where
        # the structure meets itself, so its error there is of first order in h.
        rtol = 2e-3 if name in LESS_SMOOTH and s is t else 1e-5
        for rows in (slice(0, 1), slice(1, -6), slice(-6, None)):
            for columns in (slice(0, 1), slice(1, -6), slice(-6, None)):
                part, judge = block[rows, columns], expected[rows, columns]
                np.testing.assert_allclose(part, judge, atol=rtol * np.abs(judge).max())


def test_a_molecule_has_no_stress():
    energy_kernel = KERNELS["ζ = 3.5"]
    s = structure(n=4, periodic=False)
    batch = batch_of(s, (14,), 3.5, slots=SLOTS[1], atoms=4)
    block = np.asarray(plain_block(energy_kernel, batch, batch))
    assert np.isnan(block[-6:]).all()
    assert np.isfinite(block[:-6, :-6]).all()


@eqx.filter_jit
def force_trace_slope(energy_kernel, batch):
    """Gradient of the summed prior variances of all forces by everything that can be learned."""

    def total(k):
        value = blocks.observable_kernel(k, batch, batch)
        x = jnp.zeros(3 * batch.n_atoms + 9)
        products = [
            jax.grad(lambda u, e=e: jax.jvp(lambda v: value(u, v), (x,), (e,))[1])(x) @ e
            for e in jnp.eye(len(x))[:3]
        ]
        return jnp.sum(jnp.stack(products))

    return eqx.filter_value_and_grad(total)(energy_kernel)


def test_hyperparameter_gradients_of_force_covariances_are_finite_and_right():
    energy_kernel = KERNELS["Matérn"]
    batch = batch_of(structure(n=3), (14,), 3.5, slots=SLOTS[1], atoms=4)
    _, slope = force_trace_slope(energy_kernel, batch)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))

    def places(k):
        return (k.terms[0].descriptor.sigma, k.terms[0].kernel.kernel.length_scale)

    h = 1e-5
    for i, ours in enumerate(places(slope)):
        values = []
        for sign in (1, -1):
            moved = tuple(x + sign * h * (i == j) for j, x in enumerate(places(energy_kernel)))
            values.append(force_trace_slope(eqx.tree_at(places, energy_kernel, moved), batch)[0])
        # Truncation h² and round-off ε/h, relative to a slope of order one to ten.
        assert float(ours) == pytest.approx(float(values[0] - values[1]) / (2 * h), rel=1e-6)
