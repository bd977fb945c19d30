"""1 + S K Sᵀ for diagonal S, factorised again and again for other S, or once in the memory of K alone.

K is kept by tiles of its upper half, and so is its Cholesky factor: both together are as large as K is in whole.
LAPACK's own factors are not used: of large matrices that of OpenBLAS 0.3 (dpotrf, several threads) writes beyond its
buffer, that of packed ones takes at most 46 340 rows, and they cannot say how far they have come.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gpjaxpot.errors import InputError
from gpjaxpot.linalg.threads import own_threads
from gpjaxpot.linalg.tiles import Tiles


class TiledCholesky:
    """K, and the factor U of 1 + S K Sᵀ = Uᵀ U that was made last."""

    def __init__(self, covariance: Tiles, keep: bool = True, last: int = 0):
        """Take over a covariance K, which is kept for other S, or whose memory the first factor takes over.

        Then S may be another one later for `last` rows at the end, of which the covariances are kept.
        """
        self._covariance = covariance
        self._factor = Tiles(len(covariance)) if keep else covariance
        edge = len(covariance) - last
        columns = [i for i in range(covariance.count) if covariance.edges[i + 1] > edge and not keep]
        self._kept = {i: covariance.above(i + 1, i).copy() for i in columns}
        self._spent = False
        self.scale: Float[np.ndarray, " n"] | None = None
        """S that the factor is of; None if there is none, or it failed."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._covariance)

    def factorise(self, scale: Float[np.ndarray, " n"], callback: Callable[[int, int], None]) -> None:
        """Make the factor for S = diag(scale).

        Raises:
            InputError: if the matrix is not positive definite.
            RuntimeError: if K was not kept from the factor before.
        """
        count, begin = self._factor.count, 0
        if self._spent:
            if not self.able(scale):
                raise RuntimeError("the covariance was not kept: it can be factorised once")
            begin = self._changed(scale)
        self._spent, self.scale = self._factor is self._covariance, None
        with own_threads() as pool:
            for k in range(count):
                if k >= begin:
                    self._on_diagonal(scale, k)
                for _ in pool.map(partial(self._beside, scale, k), range(max(begin, k + 1), count)):
                    pass  # what failed there is raised here
                callback(self._factor.own(k).stop, len(self))
        self.scale = np.array(scale)

    def able(self, scale: Float[np.ndarray, " n"]) -> bool:
        """Whether what was kept is enough for this S."""
        if not self._spent:
            return True
        return self.scale is not None and self._factor.count - self._changed(scale) <= len(self._kept)

    def _changed(self, scale: Float[np.ndarray, " n"]) -> int:
        """The first column of tiles that another S than that of the factor changes."""
        changed = np.flatnonzero(scale != self.scale)
        edges = self._factor.edges
        return int(np.searchsorted(edges, changed[0], side="right")) - 1 if len(changed) else self._factor.count

    def solve(self, right: Float[np.ndarray, "m *columns"]) -> Float[np.ndarray, "m *columns"]:
        """Solve with the first m rows and columns of the matrix that was factorised, for as many numbers."""
        upper, m, values = self._factor, len(right), np.array(right, np.float64)
        places = [(k, upper.own(k).start, min(upper.own(k).stop, m)) for k in range(upper.count)]
        places = [(k, first, last) for k, first, last in places if first < m]
        for k, first, last in places:
            size = last - first
            values[first:last] -= upper.above(k, k)[:, :size].T @ values[:first]
            values[first:last] = _triangular(upper.tile(k, k)[:size, :size], values[first:last], 1)
        for k, first, last in reversed(places):
            size = last - first
            values[first:last] = _triangular(upper.tile(k, k)[:size, :size], values[first:last], 0)
            values[:first] -= upper.above(k, k)[:, :size] @ values[first:last]
        return values

    def of_inverse(self, first: int, last: int) -> Float[np.ndarray, "some some"]:
        """Rows and columns of the inverse from `first` up to `last`, for which the factor's from there on are enough.

        The nearer to the end they are the less work they take.
        """
        upper = self._factor
        half = np.zeros((len(self) - first, last - first))
        np.fill_diagonal(half, 1.0)
        for k in range(upper.count):
            own = upper.own(k)
            if own.stop <= first:
                continue
            begin = max(own.start, first)  # in the middle of a tile, perhaps
            some = slice(begin - own.start, None)
            here = half[begin - first : own.stop - first]
            here -= upper.above(k, k)[first:, some].T @ half[: begin - first]
            here[...] = _triangular(upper.tile(k, k)[some, some], here, 1)
        return half.T @ half

    @property
    def log_determinant(self) -> float:
        """The determinant's logarithm."""
        upper = self._factor
        return 2.0 * float(sum(np.sum(np.log(np.diagonal(upper.tile(k, k)))) for k in range(upper.count)))

    def _on_diagonal(self, scale: Float[np.ndarray, " n"], k: int) -> None:
        tile = self._less_above(scale, k, k)
        tile[np.diag_indices(len(tile))] += 1.0
        try:
            tile[...] = scipy.linalg.cholesky(tile, check_finite=False)
        except np.linalg.LinAlgError as error:
            raise InputError(
                f"the covariance of {len(self)} observations with their noise is not positive definite: raise the "
                "noise, or remove duplicate structures"
            ) from error

    def _beside(self, scale: Float[np.ndarray, " n"], k: int, i: int) -> None:
        tile = self._less_above(scale, k, i)
        tile[...] = _triangular(self._factor.tile(k, k), tile, 1)

    def _less_above(self, scale: Float[np.ndarray, " n"], k: int, i: int) -> Float[np.ndarray, "rows columns"]:
        """A tile of S K Sᵀ less what the factor's tiles above it make of it, where the factor's will be."""
        upper = self._factor
        tile = upper.tile(k, i)
        of = self._kept[i][upper.own(k)] if i in self._kept else self._covariance.tile(k, i)
        np.multiply(of, scale[upper.own(k), None], out=tile)
        tile *= scale[upper.own(i)]
        tile -= upper.above(k, k).T @ upper.above(k, i)
        return tile


def _triangular(
    upper: Float[np.ndarray, "side side"], right: Float[np.ndarray, "side *columns"], transposed: int
) -> Float[np.ndarray, "side *columns"]:
    return scipy.linalg.solve_triangular(upper, right, trans=transposed, check_finite=False)
