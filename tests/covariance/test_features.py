"""Sets of environments: taking some, and joining several."""

import gc

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.covariance import features, projected_moves
from gpjaxpot.covariance.features import environments, expansions, join, made_environments, stage
from gpjaxpot.kernels import EnergyKernel
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
    for ours, part in zip(found.features, parts, strict=True):
        np.testing.assert_allclose(ours, part.features, atol=1e-14)


def test_take_and_join(both):
    found, _ = both
    again = join([found.take(jnp.array([2, 0])), found.take(jnp.array([1]))])
    order = jnp.array([2, 0, 1])
    np.testing.assert_array_equal(again.species, found.species[order])
    for ours, theirs in zip(again.features, found.features, strict=True):
        np.testing.assert_array_equal(ours, theirs[:, order])


def test_staged_on_the_host_as_in_a_program(monkeypatch):
    # Both species in one chunk; the unprojected term is left out: it is staged without chunks.
    kernel = EnergyKernel(KERNEL.terms[:1], KERNEL.similarity)
    batch = padded(kernel, small_structures(kernel)[1])
    traced = quick_jit(stage)(kernel, batch)
    mask = np.asarray(batch.mask)
    monkeypatch.setattr("gpjaxpot.covariance.features.CHUNK", 2)
    # Components in blocks, the last one smaller; made anew, since directions are kept by blocks.
    monkeypatch.setattr("gpjaxpot.covariance.projected_moves.BLOCK", 2)
    monkeypatch.setattr("gpjaxpot.covariance.projected_moves._KEPT", projected_moves._Kept())
    ours = stage(kernel, batch)
    np.testing.assert_allclose(ours.features[0], traced.features[0], atol=1e-14)
    scale = np.abs(traced.moves[0]).max()
    np.testing.assert_allclose(ours.moves[0][:, mask], traced.moves[0][:, mask], atol=1e-12 * scale)


def test_projections_share_their_programs(both):
    """Another projection gives other vectors, and compiles nothing."""
    batch = padded(KERNEL, small_structures(KERNEL)[1])
    projection = KERNEL.terms[0].descriptor.projection
    fewer = eqx.tree_at(lambda k: k.terms[0].descriptor.projection, KERNEL, projection[:, :, 1:])
    found, staged = made_environments(KERNEL, batch), stage(KERNEL, batch)
    for ours, theirs in zip(found.features, both[0].features, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-14)
    programs = compiled()
    for made in (made_environments(fewer, batch), stage(fewer, batch)):
        np.testing.assert_allclose(made.features[0], staged.features[0][1:], atol=1e-14)
    assert compiled() == programs


def compiled():
    one = features._some, features._some_coefficients, features._whole_environments._cached
    return [function._cache_size() for function in one]


def test_directions_are_kept_once_and_gone_with_their_projection():
    kernel = EnergyKernel(KERNEL.terms[:1], KERNEL.similarity)
    batch = padded(kernel, small_structures(kernel)[1])
    projection = kernel.terms[0].descriptor.projection + 0.0
    own = eqx.tree_at(lambda k: k.terms[0].descriptor.projection, kernel, projection)
    kept = projected_moves._KEPT._arrays
    before = len(kept)
    stage(own, batch), stage(own, batch)
    assert len(kept) == before + 1
    del own, projection
    gc.collect()
    assert len(kept) == before
