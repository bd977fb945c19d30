"""The factor in tiles equals NumPy's, for one scale after the other, beside its matrix and in its place."""

import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.linalg import tiles
from gpjaxpot.linalg.tiled_cholesky import TiledCholesky
from gpjaxpot.linalg.tiles import Tiles

N = 50


@pytest.fixture(scope="module")
def covariance():
    a = np.random.default_rng(3).normal(size=(N, N + 5))
    return a @ a.T / N


def tiled(matrix):
    """Its upper half, put in pieces of several rows and columns; NaN below the diagonal."""
    out = Tiles(len(matrix))
    upper = np.triu(matrix) + np.tril(np.full(matrix.shape, np.nan), -1)
    for rows in np.array_split(np.random.default_rng(0).permutation(len(matrix)), 4):
        for columns in np.array_split(np.arange(len(matrix)), 3):
            out.put(rows, columns, upper[np.ix_(rows, columns)])
    return out


@pytest.mark.parametrize("side", [7, 25, 1024])
@pytest.mark.parametrize("keep", [True, False])
def test_solves_with_each_scale_in_turn(covariance, side, keep, monkeypatch):
    monkeypatch.setattr(tiles, "SIDE", side)
    rng = np.random.default_rng(1)
    kept = TiledCholesky(tiled(covariance), keep)
    right, done = rng.normal(size=(N, 2)), []
    for size in (30.0, 1.0):
        scale = size * rng.uniform(0.5, 2.0, N)
        whole = np.eye(N) + scale[:, None] * covariance * scale
        if not keep:
            kept = TiledCholesky(tiled(covariance), keep)
        kept.factorise(scale, lambda k, total: done.append(k / total))
        np.testing.assert_allclose(kept.solve(right), np.linalg.solve(whole, right), rtol=1e-9, atol=1e-12)
        some = np.linalg.solve(whole[:33, :33], right[:33, 0])
        np.testing.assert_allclose(kept.solve(right[:33, 0]), some, rtol=1e-9)
        n, inverse = len(whole), np.linalg.inv(whole)
        for first, last in ((n - 12, n), (3, 7), (0, n)):
            some = slice(first, last)
            np.testing.assert_allclose(kept.of_inverse(first, last), inverse[some, some], rtol=1e-8, atol=1e-12)
        assert kept.log_determinant == pytest.approx(np.linalg.slogdet(whole)[1], rel=1e-12)
        assert done[-1] == 1.0


def test_a_covariance_that_is_not_kept_is_factorised_once(covariance):
    spent = TiledCholesky(tiled(covariance), keep=False)
    spent.factorise(np.ones(N), lambda *_: None)
    with pytest.raises(RuntimeError, match="was not kept"):
        spent.factorise(np.full(N, 2.0), lambda *_: None)


@pytest.mark.parametrize("last", [1, 9])
def test_for_other_scales_at_the_end_its_last_columns_are_made_anew(covariance, last, monkeypatch):
    monkeypatch.setattr(tiles, "SIDE", 7)
    first, second = np.ones(N), np.r_[np.ones(N - last), np.full(last, 3.0)]
    spent, whole = TiledCholesky(tiled(covariance), False, last), TiledCholesky(tiled(covariance))
    right = np.arange(N, dtype=float)
    for scale in (first, second):
        spent.factorise(scale, lambda *_: None)
        whole.factorise(scale, lambda *_: None)
        np.testing.assert_array_equal(spent.solve(right), whole.solve(right))  # bit for bit
    other = np.full(N, 2.0)
    assert spent.able(first)
    assert not spent.able(other)
    assert whole.able(other)
    with pytest.raises(RuntimeError, match="was not kept"):
        spent.factorise(other, lambda *_: None)


def test_after_a_factor_that_failed_nothing_is_left(covariance):
    spent = TiledCholesky(tiled(covariance - 3.0 * np.eye(N)), False, N)
    for _ in range(2):
        with pytest.raises((InputError, RuntimeError)):
            spent.factorise(np.full(N, 5.0), lambda *_: None)
    assert not spent.able(np.full(N, 5.0))


def test_tiles_take_half_of_the_memory(monkeypatch):
    monkeypatch.setattr(tiles, "SIDE", 7)
    half = Tiles(N)
    held = sum(half.tile(k, i).nbytes for i in range(half.count) for k in range(i + 1))
    assert held == pytest.approx(8 * N * (N + 7) / 2, rel=0.01)


def test_a_matrix_that_is_not_positive_is_refused(covariance):
    kept = TiledCholesky(tiled(covariance - 3.0 * np.eye(N)))
    with pytest.raises(InputError, match=f"covariance of {N} observations.*not positive definite: raise the noise"):
        kept.factorise(np.full(N, 5.0), lambda *_: None)
