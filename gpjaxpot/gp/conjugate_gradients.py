"""Conjugate gradients on (1 + K) x = b, where only products with K are to be had."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
from jaxtyping import Float


@dataclass(frozen=True)
class LowRank:
    """P = 1 + B Bᵀ with B = diag(d) R: its inverse, by the matrix inversion lemma, and its determinant.

    It is a preconditioner where K is nearly B Bᵀ.
    Source: Rasmussen & Williams (2006), eq. A.9; as a preconditioner Cutajar et al., Proc. Mach. Learn. Res. 48 (2016).
    """

    rows: Float[np.ndarray, "data rank"]
    diagonal: Float[np.ndarray, " data"]
    lower: Float[np.ndarray, "rank rank"]
    """Cholesky factor of 1 + Bᵀ B."""

    def solve(self, right: Float[np.ndarray, " data"]) -> Float[np.ndarray, " data"]:
        """(1 + B Bᵀ)⁻¹ times a vector."""
        inner = scipy.linalg.cho_solve((self.lower, True), self.rows.T @ (self.diagonal * right))
        return right - self.diagonal * (self.rows @ inner)

    @property
    def log_determinant(self) -> float:
        """The determinant's logarithm, which is that of 1 + Bᵀ B."""
        return 2.0 * float(np.sum(np.log(np.diagonal(self.lower))))

    def draw(self, rng: np.random.Generator) -> Float[np.ndarray, " data"]:
        """A vector drawn from the normal distribution with covariance 1 + B Bᵀ."""
        size, rank = self.rows.shape
        return rng.standard_normal(size) + self.diagonal * (self.rows @ rng.standard_normal(rank))


@dataclass(frozen=True)
class Solution:
    """What conjugate gradients found."""

    values: Float[np.ndarray, " data"]
    iterations: int
    residual: float
    """Length of b − (1 + K) x."""
    converged: bool


def conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray],
    right: Float[np.ndarray, " data"],
    precondition: Callable[[np.ndarray], np.ndarray],
    start: Float[np.ndarray, " data"] | None,
    tolerance: float,
    most: int,
    callback: Callable[[int, int], None],
) -> Solution:
    """Solve (1 + K) x = `right` until the length of the residual is below `tolerance`.

    Args:
        product: multiplies by K.
        right: in units of the noise, so that a residual far below 1 changes nothing that the data could tell.
        precondition: an approximate inverse of 1 + K, symmetric and positive.
        start: a first guess; None for zero.
        tolerance: on the residual's length.
        most: iterations, at the most.
        callback: told iterations done and `most`.
    """
    size = len(right)
    done = 0

    def step(_: np.ndarray) -> None:
        nonlocal done
        done += 1
        callback(done, most)

    values, left = scipy.sparse.linalg.cg(
        _operator(size, lambda v: v + product(v)),
        right,
        x0=start,
        rtol=0.0,
        atol=tolerance,
        maxiter=most,
        M=_operator(size, precondition),
        callback=step,
    )
    return Solution(values, done, float(np.linalg.norm(right - values - product(values))), left == 0)


def _operator(size: int, product: Callable[[np.ndarray], np.ndarray]) -> Any:
    # The library's constructor makes another class than it says, which its types do not know.
    make: Any = scipy.sparse.linalg.LinearOperator
    return make((size, size), matvec=product, dtype=np.float64)
