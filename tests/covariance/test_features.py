"""Sets of environments: taking some, and joining several."""

import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.covariance.features import environments, expansions, join
from tests.covariance.zoo import KERNELS, padded, small_structures
from tests.systems import quick_jit

KERNEL = KERNELS["two species and terms"]


@pytest.fixture(scope="module")
def both():
    """Environments and expansions of a crystal of four atoms."""
    batch = padded(KERNEL, small_structures(KERNEL)[1])
    return quick_jit(lambda k, b: (environments(k, b), expansions(k, b)))(KERNEL, batch)


def test_environments_are_the_features_of_each_term(both):
    found, parts = both
    assert len(found) == 4
    for features, part in zip(found.features, parts, strict=True):
        np.testing.assert_allclose(features, part.features, atol=1e-14)


def test_take_and_join(both):
    found, _ = both
    again = join([found.take(jnp.array([2, 0])), found.take(jnp.array([1]))])
    order = jnp.array([2, 0, 1])
    np.testing.assert_array_equal(again.species, found.species[order])
    for ours, theirs in zip(again.features, found.features, strict=True):
        np.testing.assert_array_equal(ours, theirs[:, order])
