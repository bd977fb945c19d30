"""The factor that is made beside its matrix equals NumPy's, for one scale after the other."""

import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.linalg import in_place
from gpjaxpot.linalg.in_place import InPlace

N = 50


@pytest.fixture(scope="module")
def covariance():
    a = np.random.default_rng(3).normal(size=(N, N + 5))
    return a @ a.T / N


@pytest.mark.parametrize(("columns", "rows"), [(7, 11), (25, 25), (1024, 8192)])
def test_solves_with_each_scale_in_turn(covariance, columns, rows, monkeypatch):
    monkeypatch.setattr(in_place, "COLUMNS", columns)
    monkeypatch.setattr(in_place, "ROWS", rows)
    rng = np.random.default_rng(1)
    kept = InPlace(np.triu(covariance) + np.tril(np.full((N, N), np.nan), -1))
    right, done = rng.normal(size=(N, 2)), []
    for size in (30.0, 1.0):
        scale = size * rng.uniform(0.5, 2.0, N)
        whole = np.eye(N) + scale[:, None] * covariance * scale
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


def test_a_matrix_that_is_not_positive_is_refused(covariance):
    kept = InPlace(covariance - 3.0 * np.eye(N))
    with pytest.raises(InputError, match=f"covariance of {N} observations.*not positive definite: raise the noise"):
        kept.factorise(np.full(N, 5.0), lambda *_: None)
