"""Triangular factor of a tall matrix whose rows come in blocks and are forgotten."""

import numpy as np
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.linalg.products import triangle

# Rows are folded in when this many columns' worth of them wait, so that few factorisations are made.
WAITING = 2.0


class StreamedQR:
    """R with RᵀR = AᵀA for a matrix A of `columns` columns, fed row by row; R has at most `columns` rows.

    Source: blocked tall-skinny QR, Demmel, Grigori, Hoemmen & Langou, SIAM J. Sci. Comput. 34, A206 (2012).
    """

    def __init__(self, columns: int, factor: Float[AnyArray, "rows columns"] | None = None):
        """Start empty, or from the factor of rows that were folded in before."""
        self.columns = columns
        self.factor: np.ndarray = np.zeros((0, columns)) if factor is None else np.asarray(factor)
        self._waiting: list[np.ndarray] = []
        self._count = 0

    @property
    def waiting(self) -> Float[np.ndarray, "rows columns"]:
        """Rows that are not yet folded in: with the factor, all that there is to keep."""
        return np.concatenate([np.zeros((0, self.columns)), *self._waiting])

    def add(self, rows: Float[AnyArray, "rows columns"]) -> None:
        """Take in rows of A."""
        if len(rows):
            self._waiting.append(np.ascontiguousarray(rows))
            self._count += len(rows)
        if self._count >= WAITING * self.columns:
            self.fold()

    def fold(self) -> Float[AnyArray, "rows columns"]:
        """Fold in what waits, and return R."""
        if self._count:
            stacked = np.concatenate([self.factor, *self._waiting])
            if len(stacked) > self.columns:
                stacked = triangle(stacked)
            self.factor, self._waiting, self._count = stacked, [], 0
        return self.factor
