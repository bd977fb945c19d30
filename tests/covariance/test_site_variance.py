"""Prior force covariances atom by atom equal the diagonal blocks of the dense covariance."""

import numpy as np
import pytest

from gpjaxpot.covariance import site_variance
from gpjaxpot.covariance.site_variance import prior_force_covariance
from gpjaxpot.structures.structure import Structure
from tests.covariance.zoo import KERNELS, padded
from tests.systems import quick_jit, staged_block, structure

compiled = quick_jit(prior_force_covariance)


def diagonal_blocks(kernel, batch):
    dense = np.asarray(staged_block(kernel, batch, batch))
    return np.array([dense[1 + 3 * a : 4 + 3 * a, 1 + 3 * a : 4 + 3 * a] for a in range(4)])


@pytest.mark.parametrize("name", ["compound", "function", "two species and terms"])
@pytest.mark.parametrize("n", [3, 4])
def test_equal_the_dense_diagonal(name, n, monkeypatch):
    kernel = KERNELS[name]
    batch = padded(kernel, structure(kernel.species, n, seed=5))
    actual, expected = np.asarray(compiled(kernel, batch)), diagonal_blocks(kernel, batch)
    np.testing.assert_allclose(actual, expected, atol=1e-10 * np.abs(expected).max())
    np.testing.assert_array_equal(actual[n:], 0.0)
    assert np.linalg.eigvalsh(actual[:n]).min() > 0
    # The same products by NumPy, outside of jit; three atoms of a batch of four are a chunk that is not full.
    monkeypatch.setattr(site_variance, "CHUNK", 3)
    np.testing.assert_allclose(prior_force_covariance(kernel, batch), actual, atol=1e-12 * np.abs(expected).max())


def test_cell_smaller_than_the_cutoff():
    # An atom's images are its neighbours: its force moves its own environment through them, too,
    # and the neighbours' environments through several pairs each.
    kernel = KERNELS["compound"]
    s = Structure([[0, 0, 0], [1.3, 1.4, 1.2]], [14, 14], np.diag([3.0, 3.2, 3.4]), True)
    batch = padded(kernel, s)
    actual, expected = np.asarray(compiled(kernel, batch)), diagonal_blocks(kernel, batch)
    scale = np.asarray(staged_block(kernel, batch, batch)).max()
    np.testing.assert_allclose(actual, expected, atol=1e-10 * scale)
