"""The upper half of a symmetric matrix, in tiles: in half of the memory of the whole."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

# Rows and columns of a tile: enough for products at full speed.
SIDE = 1024


class Tiles:
    """A symmetric matrix of `n` rows and columns, by those of its tiles that reach the diagonal or lie above it.

    Tiles of one column follow each other in memory, so that a product takes them all at once.  Of a tile on the
    diagonal what is below the diagonal is not to be relied on.
    """

    def __init__(self, n: int):
        """Make one whose entries are not set yet."""
        self.edges = [*range(0, n, SIDE), n]
        self._columns = [np.empty((last, last - first)) for first, last in pairwise(self.edges)]
        for i in range(self.count):
            self.tile(i, i)[...] = 0.0  # what is below the diagonal must be some number

    def __len__(self) -> int:
        """Return n."""
        return self.edges[-1]

    @property
    def count(self) -> int:
        """Tiles along each side."""
        return len(self._columns)

    def own(self, k: int) -> slice:
        """Rows, or columns, of the tiles in row, or column, `k`."""
        return slice(self.edges[k], self.edges[k + 1])

    def tile(self, k: int, i: int) -> Float[np.ndarray, "rows columns"]:
        """The tile in row `k` and column `i`, which is not the smaller."""
        return self._columns[i][self.own(k)]

    def above(self, k: int, i: int) -> Float[np.ndarray, "rows columns"]:
        """All tiles of column `i` that are above row `k`."""
        return self._columns[i][: self.edges[k]]

    def put(
        self,
        rows: Int[np.ndarray, " rows"],
        columns: Int[np.ndarray, " columns"],
        values: Float[np.ndarray, "rows columns"],
    ) -> None:
        """Write `values` to where `rows` and `columns` meet, but for what lies below the tiles of the diagonal."""
        of = columns // SIDE
        for i in np.unique(of):
            here, there = np.flatnonzero(rows < self.edges[i + 1]), np.flatnonzero(of == i)
            self._columns[i][np.ix_(rows[here], columns[there] - self.edges[i])] = values[np.ix_(here, there)]
