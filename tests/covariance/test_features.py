"""Sets of environments: taking some, and joining several."""

import jax.numpy as jnp
import numpy as np

from gpjaxpot.covariance.features import environments, expansions, join
from tests.covariance.zoo import KERNELS
from tests.systems import WATER, batch_of, structure

KERNEL = KERNELS["two species and terms, similar"]


def test_environments_are_the_features_of_each_term():
    batch = batch_of(structure(WATER, 4), WATER, KERNEL.reach, slots=(20, 20), atoms=4)
    found = environments(KERNEL, batch)
    assert len(found) == 4
    for features, parts in zip(found.features, expansions(KERNEL, batch), strict=True):
        np.testing.assert_allclose(features, parts.features, atol=1e-14)


def test_take_and_join():
    batch = batch_of(structure(WATER, 4), WATER, KERNEL.reach, slots=(20, 20), atoms=4)
    all_four = environments(KERNEL, batch)
    again = join([all_four.take(jnp.array([2, 0])), all_four.take(jnp.array([1]))])
    np.testing.assert_array_equal(again.species, all_four.species[jnp.array([2, 0, 1])])
    for ours, theirs in zip(again.features, all_four.features, strict=True):
        np.testing.assert_array_equal(ours, theirs[:, jnp.array([2, 0, 1])])
