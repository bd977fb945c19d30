"""1 + S K Sᵀ, for diagonal S, factorised again and again for other S in the one array that K is kept in.

Entries of K above the diagonal stay where they are, and a Cholesky factor is made below it: of all that is known in
half of the memory, for any number of S.  LAPACK's own in-place factor is not used: of large matrices that of OpenBLAS
0.3 (dpotrf, several threads) writes beyond its buffer, and it cannot say how far it has come.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gpjaxpot.errors import InputError

# Columns and rows of a block: enough for products at full speed.
COLUMNS, ROWS = 1024, 16384


class InPlace:
    """K, and the factor L of 1 + S K Sᵀ = L Lᵀ that was made last."""

    def __init__(self, upper: Float[np.ndarray, "n n"]):
        """Take over an array whose upper half, with the diagonal, is K; what is below is lost."""
        self._matrix = upper
        self._diagonal = np.diagonal(upper).copy()

    def __len__(self) -> int:
        """Return n."""
        return len(self._matrix)

    def factorise(self, scale: Float[np.ndarray, " n"], callback: Callable[[int, int], None]) -> None:
        """Make the factor for S = diag(scale).

        Raises:
            InputError: if the matrix is not positive definite.
        """
        matrix, n = self._matrix, len(self)
        for own in self._blocks():
            first, last = own.start, own.stop
            upper = np.triu(matrix[own, own], 1)
            block = (upper + upper.T) * scale[own, None] * scale[own]
            np.fill_diagonal(block, 1.0 + self._diagonal[own] * scale[own] ** 2)
            block -= matrix[own, :first] @ matrix[own, :first].T
            try:
                lower = scipy.linalg.cholesky(block, lower=True, check_finite=False)
            except np.linalg.LinAlgError as error:
                raise InputError(
                    f"the covariance of {n} observations with their noise is not positive definite: raise the noise, "
                    "or remove duplicate structures"
                ) from error
            here = np.tril_indices(last - first)
            matrix[own, own][here] = lower[here]
            for start in range(last, n, ROWS):
                rows = slice(start, min(start + ROWS, n))
                block = matrix[own, rows].T * scale[rows, None] * scale[own]
                block -= matrix[rows, :first] @ matrix[own, :first].T
                matrix[rows, own] = scipy.linalg.solve_triangular(lower, block.T, lower=True, check_finite=False).T
            callback(last, n)

    def solve(self, right: Float[np.ndarray, "m *columns"]) -> Float[np.ndarray, "m *columns"]:
        """Solve with the first m rows and columns of the matrix that was factorised, for as many numbers."""
        matrix, m, values = self._matrix, len(right), np.array(right, np.float64)
        blocks = [slice(b.start, min(b.stop, m)) for b in self._blocks() if b.start < m]
        for own in blocks:
            values[own] -= matrix[own, : own.start] @ values[: own.start]
            values[own] = scipy.linalg.solve_triangular(matrix[own, own], values[own], lower=True, check_finite=False)
        for own in reversed(blocks):
            values[own] -= matrix[own.stop : m, own].T @ values[own.stop :]
            values[own] = scipy.linalg.solve_triangular(
                matrix[own, own], values[own], trans=1, lower=True, check_finite=False
            )
        return values

    def of_inverse(self, first: int, last: int) -> Float[np.ndarray, "some some"]:
        """Rows and columns of the inverse from `first` up to `last`, for which the factor's from there on are enough.

        The nearer to the end they are the less work they take.
        """
        matrix, n = self._matrix, len(self)
        half = np.zeros((n - first, last - first))
        np.fill_diagonal(half, 1.0)
        for start in range(first, n, COLUMNS):
            here = slice(start, min(start + COLUMNS, n))
            own = slice(here.start - first, here.stop - first)
            half[own] -= matrix[here, first:start] @ half[: own.start]
            half[own] = scipy.linalg.solve_triangular(matrix[here, here], half[own], lower=True, check_finite=False)
        return half.T @ half

    @property
    def log_determinant(self) -> float:
        """The determinant's logarithm."""
        return 2.0 * float(np.sum(np.log(np.diagonal(self._matrix))))

    def _blocks(self) -> Iterator[slice]:
        n = len(self)
        return (slice(first, min(first + COLUMNS, n)) for first in range(0, n, COLUMNS))
