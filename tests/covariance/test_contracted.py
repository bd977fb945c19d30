"""Products with the covariance equal the dense covariance times the vector, block by block."""

import dataclasses

import numpy as np
import pytest

from gpjaxpot.covariance import contracted
from gpjaxpot.covariance.contracted import Contracted
from gpjaxpot.covariance.features import stage
from tests.covariance.zoo import KERNELS, PLACES, padded
from tests.systems import batch_of, linear, structure

NAMES = ("compound", "two species and terms")


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """Three structures, two in one batch: a molecule, a crystal, a crystal; not all that they have was observed."""
    kernel = KERNELS[request.param]
    species = kernel.species
    slots = (16,) if len(species) == 1 else (12, 12)
    members = [structure(species, 4, periodic=False, seed=5), structure(species, 3), structure(species, 4, seed=8)]
    observed = [np.arange(13), np.r_[0, 3:16], np.r_[1:13, 14:19]]
    edges = np.cumsum([0, *(len(o) for o in observed)])
    whole = Contracted(kernel, int(edges[-1]))
    for these in ([0, 1], [2]):
        batch = batch_of([members[i] for i in these], species, 3.5, slots=slots, atoms=8)
        places = []
        for i in these:
            own = np.full(1 + 3 * len(members[i]) + 6, whole.n_data)
            own[observed[i]] = edges[i] + np.arange(len(observed[i]))
            places.append(own)
        whole.add(batch, stage(kernel, batch), [len(members[i]) for i in these], places)
    return kernel, members, observed, whole


def dense(kernel, members, observed):
    """Covariance of all that was observed, from the dense blocks, which equal nested AD."""
    from gpjaxpot.covariance.linearised import covariance

    lines = [linear(kernel, padded(kernel, s)) for s in members]
    rows = []
    for a, s, o in zip(lines, members, observed, strict=True):
        # The dense blocks have places for more atoms between forces and stress.
        mine = np.where(o > 3 * len(s), o + 3 * (PLACES - len(s)), o)
        row = []
        for b, t, q in zip(lines, members, observed, strict=True):
            theirs = np.where(q > 3 * len(t), q + 3 * (PLACES - len(t)), q)
            row.append(np.asarray(covariance(kernel, a, b))[np.ix_(mine, theirs)])
        rows.append(np.concatenate(row, 1))
    return np.concatenate(rows)


def test_product_equals_the_dense_covariance(case):
    kernel, members, observed, whole = case
    full = dense(kernel, members, observed)
    for seed in range(2):
        alpha = np.random.default_rng(seed).normal(size=whole.n_data)
        expected = full @ alpha
        np.testing.assert_allclose(whole.product(alpha), expected, atol=1e-10 * np.abs(expected).max())
    assert np.isfinite(full).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_products_that_are_kept_change_nothing(case, monkeypatch, share):
    *_, whole = case
    monkeypatch.setattr(contracted, "BLOCK", 5 * 4)
    pairs = [np.sum(whole.species == s) ** 2 for s in np.unique(whole.species)]
    if whole.kernel.similarity is not None:
        pairs = [len(whole.species) ** 2]
    room = share * 8 * sum(pairs) * len(whole.kernel.terms) * 1.5  # the last block of each reaches back
    roomy = dataclasses.replace(whole, room=room, _kept={})
    for seed in range(2):
        alpha = np.random.default_rng(seed).normal(size=whole.n_data)
        np.testing.assert_array_equal(roomy.product(alpha), whole.product(alpha))
    kept = sum(t.nbytes for t in roomy._kept.values())
    assert kept <= room
    assert (kept > 0) == (share > 0)
    assert not whole._kept


def test_blocks_of_environments_change_nothing(case, monkeypatch):
    *_, whole = case
    alpha = np.random.default_rng(3).normal(size=whole.n_data)
    expected = whole.product(alpha)
    monkeypatch.setattr(contracted, "BLOCK", 5 * 4)  # blocks of four and fewer, the last reaching back
    np.testing.assert_allclose(whole.product(alpha), expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


def test_fold_is_the_transpose_of_unfold(case):
    *_, whole = case
    rng = np.random.default_rng(1)
    alpha, energies = rng.normal(size=whole.n_data), rng.normal(size=len(whole.species))
    slopes = [rng.normal(size=f.shape) for f in whole.features]
    values, gradients = whole.fold(alpha)
    left = values @ energies + sum(np.sum(g * s) for g, s in zip(gradients, slopes, strict=True))
    assert left == pytest.approx(alpha @ whole.unfold(energies, slopes), rel=1e-12)


def test_matrix_equals_the_dense_covariance(case, monkeypatch):
    from gpjaxpot.covariance import dense as module
    from gpjaxpot.linalg import threads as own
    from gpjaxpot.linalg import tiles

    kernel, members, observed, whole = case
    full = dense(kernel, members, observed)
    # Structures and observables together; each alone; each alone and none there for longer than it is needed.
    for near, there, threads in ((1.2e7, 1e9, 1), (1.0, 1e9, 3), (1.0, 1.0, 2)):
        monkeypatch.setattr(module, "NEAR", near)
        monkeypatch.setattr(module, "THERE", there)
        monkeypatch.setattr(own, "threadpool_info", lambda n=threads: [{"user_api": "blas", "num_threads": n}])
        monkeypatch.setattr(own, "available_cores", lambda: 4)
        monkeypatch.setattr(tiles, "SIDE", 17)  # structures lie across the edges of tiles
        done = []
        made = module.covariance(whole, lambda *told, done=done: done.append(told))
        assert done[-1][1] == done[-1][2]
        for i in range(made.count):
            for k in range(i + 1):
                tile, expected = made.tile(k, i), full[made.own(k), made.own(i)]
                upper = np.triu_indices(len(tile)) if k == i else slice(None)
                np.testing.assert_allclose(tile[upper], expected[upper], rtol=0, atol=1e-12 * np.abs(full).max())
