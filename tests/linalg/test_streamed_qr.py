"""QR of rows that come in blocks."""

import numpy as np
import pytest

from gpjaxpot.linalg.streamed_qr import StreamedQR


@pytest.mark.parametrize("sizes", [[3], [50], [1] * 30, [0, 13, 2, 40, 5]])
def test_factor_has_the_same_normal_matrix_as_all_rows(sizes):
    rng = np.random.default_rng(0)
    rows = [rng.normal(size=(n, 6)) for n in sizes]
    stream = StreamedQR(6)
    for block in rows:
        stream.add(block)
    a = np.concatenate(rows)
    r = stream.fold()
    assert len(r) <= max(6, min(len(a), 6))
    # A backward-stable factorisation: round-off relative to the norm.
    np.testing.assert_allclose(r.T @ r, a.T @ a, atol=1e-13 * np.linalg.norm(a) ** 2)
    np.testing.assert_array_equal(stream.fold(), r)


def test_goes_on_from_an_earlier_factor():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(20, 4)), rng.normal(size=(20, 4))
    whole, half = StreamedQR(4), StreamedQR(4)
    half.add(first)
    rest = StreamedQR(4, half.fold())
    rest.add(second)
    whole.add(np.concatenate([first, second]))
    r, s = rest.fold(), whole.fold()
    np.testing.assert_allclose(r.T @ r, s.T @ s, rtol=1e-12, atol=1e-13)
