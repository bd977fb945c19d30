"""Sums that are written out equal the products that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.descriptors import contractions
from gpjaxpot.descriptors.contractions import BLOCK

N, ATOMS = 3, 4


def made(l, slots):
    """Radial functions, harmonics of degree l and l − 1, coefficients, pairs of channels, decays."""
    m, tail = 2 * l + 1, (slots, ATOMS)
    shapes = (N, *tail), (m, *tail), (m - 2, *tail), (N, m, ATOMS), (N, N, ATOMS), (N,)
    keys = jax.random.split(jax.random.key(l), 6)
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


def every(radial, angular, lower, coefficients, by_pair, decay):
    """One result of each kind."""
    zero = jnp.zeros(radial.shape[1:])
    return (
        contractions.over_neighbours(radial, angular),
        contractions.over_orders(coefficients, angular, radial),
        contractions.over_radial(coefficients, radial),
        contractions.over_channels(by_pair, coefficients),
        contractions.products(coefficients),
        contractions.along(radial, decay, zero + 1.0, zero + 2.0),
        contractions.by_direction(angular, lower, zero, zero + 1.0, zero + 2.0),
    )


@pytest.mark.parametrize(("l", "slots"), [(1, 1), (2, 5), (4, BLOCK + 3)])
def test_equal_the_products(monkeypatch, l, slots):
    arrays = made(l, slots)
    results = []
    for written_out in (True, False):
        monkeypatch.setattr(contractions, "written_out", lambda written_out=written_out: written_out)
        results.append(jax.tree.leaves(jax.jit(lambda *x: every(*x))(*arrays)))
    for ours, plain in zip(*results, strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-12)
        assert np.abs(plain).max() > 0.1
