"""Staged covariance blocks equal plain nested AD, and are symmetric and positive."""

import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.covariance.linearised import profile_derivatives
from gpjaxpot.kernels import DotPower
from tests.covariance.zoo import KERNELS, PLACES, padded, small_structures
from tests.systems import observed, plain_block, staged_block


@pytest.fixture(scope="module", params=KERNELS)
def case(request):
    """A kernel, two structures padded to the same places, and their sizes."""
    kernel = KERNELS[request.param]
    structures = small_structures(kernel)
    return kernel, [padded(kernel, s) for s in structures], [len(s) for s in structures]


@pytest.mark.parametrize(("i", "j"), [(0, 0), (0, 1), (1, 0)])
def test_equal_plain_differentiation(case, i, j):
    kernel, batches, _ = case
    plain = np.asarray(plain_block(kernel, batches[i], batches[j]))
    staged = np.asarray(staged_block(kernel, batches[i], batches[j]))
    # The contract of every fast path, for each of the nine blocks by itself.
    for rows in (slice(0, 1), slice(1, -6), slice(-6, None)):
        for columns in (slice(0, 1), slice(1, -6), slice(-6, None)):
            scale = np.abs(plain[rows, columns]).max()
            assert scale > 0
            difference = staged[rows, columns] - plain[rows, columns]
            assert np.abs(difference).max() <= 1e-10 * scale


def test_symmetric_and_positive(case):
    kernel, batches, sizes = case
    rows = [[np.asarray(staged_block(kernel, a, b)) for b in batches] for a in batches]
    chosen = [observed(n, PLACES) for n in sizes]
    full = np.block([[rows[i][j][np.ix_(chosen[i], chosen[j])] for j in range(2)] for i in range(2)])
    np.testing.assert_allclose(full, full.T, atol=1e-13 * np.abs(full).max())
    # Scaled to unit diagonal, round-off of an eigenvalue is some ε times the size.
    scale = np.sqrt(np.diagonal(full))
    assert np.linalg.eigvalsh(full / np.outer(scale, scale)).min() > -1e-12


def test_padding_atoms_have_zero_rows(case):
    kernel, batches, _ = case
    block = np.asarray(staged_block(kernel, batches[0], batches[1]))
    np.testing.assert_array_equal(block[10:13], 0.0)  # the fourth place of a structure of three


def test_net_force_has_no_variance(case):
    kernel, batches, _ = case
    block = np.asarray(staged_block(kernel, batches[0], batches[1]))
    net = block[1:13].reshape(4, 3, -1).sum(axis=0)
    # Moving all atoms together moves nothing: round-off of sums of entries of size `scale`.
    assert np.abs(net).max() < 1e-12 * np.abs(block).max()


def test_profile_derivatives_of_a_power():
    t = jnp.linspace(0.1, 1.0, 5)
    value, first, second = profile_derivatives(DotPower(3.5), t)
    np.testing.assert_allclose(value, t**3.5, rtol=1e-14)
    np.testing.assert_allclose(first, 3.5 * t**2.5, rtol=1e-14)
    np.testing.assert_allclose(second, 3.5 * 2.5 * t**1.5, rtol=1e-13)
