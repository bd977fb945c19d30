r"""The log determinant of 1 + K by stochastic Lanczos quadrature, where only products with K are to be had.

With the preconditioner $P = 1 + B B^T$ and $M = P^{-1/2} (1 + K) P^{-1/2}$,

    $\log\det(1 + K) = \log\det P + \mathrm{tr} \log M$.

The trace is n times the mean of $w^T \log(M)\, w$ over directions w, and each of these a Gauss quadrature: its nodes
are the eigenvalues of the tridiagonal matrix that Lanczos' recursion begun with w makes of M.  Probes r ~ N(0, P) are
$P^{1/2}$ times vectors of uniform direction, and the recursion on $P^{-1} (1 + K)$ in the inner product of P, begun
with $P^{-1} r$, is that on M: no root of P is taken.
Source: Ubaru, Chen & Saad, SIAM J. Matrix Anal. Appl. 38, 1075 (2017); with a preconditioner Gardner, Pleiss, Bindel,
Weinberger & Wilson, Adv. Neural Inf. Process. Syst. 31 (2018).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gpjaxpot.gp.conjugate_gradients import LowRank

# The recursion has come to its end where what is left for the next vector is this share of the last node: round-off.
EXHAUSTED = 1e-10


@dataclass(frozen=True)
class LogDeterminant:
    """An estimate of a log determinant, and how it came about."""

    value: float
    standard_error: float
    """Over the probes, and so with Student's distribution: of ten probes it is itself known to a quarter.  What the
    quadratures lack is beside it."""
    probes: int
    steps: int
    """Products with K, of all probes together."""
    unfinished: int
    """Probes whose quadrature still changed at the last step; its error makes the value too large."""


def log_determinant(
    product: Callable[[np.ndarray], np.ndarray],
    nearby: LowRank,
    probes: int,
    tolerance: float,
    most: int,
    seed: int,
    callback: Callable[[int, int], None],
) -> LogDeterminant:
    """Estimate log det(1 + K).

    The quadrature of a probe is weighed by n and not by the probe's own |w|², whose scatter around n would come on top.

    Args:
        product: multiplies by K, which is symmetric; 1 + K is positive.
        nearby: preconditioner.
        probes: how many, at least 2: the standard error falls as one over their root.
        tolerance: a probe ends when a step changes its estimate of the log determinant by less.
        most: steps of each probe, at the most; one product each.
        seed: of the probes.
        callback: told steps done and `probes` times `most`; at the end of each probe all of its steps are done.

    Raises:
        ValueError: for fewer than two probes.
        ArithmeticError: if 1 + K or the preconditioner shows itself not positive.
    """
    if probes < 2:
        raise ValueError(f"a standard error takes 2 probes at the least, got {probes}")
    rng = np.random.default_rng(seed)
    size, steps, unfinished = len(nearby.diagonal), 0, 0
    traces = np.empty(probes)
    for k in range(probes):
        begun = k * most

        def tell(done: int, begun: int = begun) -> None:
            callback(begun + done, probes * most)

        mean, done, settled = _quadrature(product, nearby, nearby.draw(rng), tolerance / size, most, tell)
        traces[k] = size * mean
        steps, unfinished = steps + done, unfinished + (not settled)
        tell(most)
    return LogDeterminant(
        nearby.log_determinant + float(np.mean(traces)),
        float(np.std(traces, ddof=1) / np.sqrt(probes)),
        probes,
        steps,
        unfinished,
    )


def _quadrature(
    product: Callable[[np.ndarray], np.ndarray],
    nearby: LowRank,
    probe: Float[np.ndarray, " data"],
    tolerance: float,
    most: int,
    tell: Callable[[int], None],
) -> tuple[float, int, bool]:
    """The mean of log M in the direction of a probe, the steps that it took, and whether it has settled."""
    inverse = nearby.solve(probe)
    length = _root(float(probe @ inverse))
    # Vectors q, orthonormal in the inner product of P, beside P q; memory that is not reached is not taken.
    vectors, dual = np.empty((2, most, len(probe)))
    vectors[0], dual[0] = inverse / length, probe / length
    diagonal: list[float] = []
    beside: list[float] = []
    before = np.inf
    while True:
        done = len(diagonal) + 1
        q = vectors[done - 1]
        left = q + product(q)
        diagonal.append(float(q @ left))
        here = _gauss_log(diagonal, beside)
        tell(done)
        settled = abs(here - before) < tolerance
        if settled or done == most:
            return here, done, settled
        before = here
        # Against all vectors, not the last two alone, and twice: the recursion loses orthogonality as soon as a node
        # has settled, and would find it again.
        for _ in range(2):
            left -= (vectors[:done] @ left) @ dual[:done]
        following = nearby.solve(left)
        square = float(left @ following)
        if abs(square) <= (EXHAUSTED * diagonal[-1]) ** 2:
            return here, done, True
        beside.append(_root(square))
        vectors[done], dual[done] = following / beside[-1], left / beside[-1]


def _gauss_log(diagonal: list[float], beside: list[float]) -> float:
    """The quadrature of the logarithm by a tridiagonal matrix: Σ (first component)² log(eigenvalue)."""
    nodes, across = scipy.linalg.eigh_tridiagonal(np.array(diagonal), np.array(beside))
    if not nodes[0] > 0:
        raise ArithmeticError(
            f"log determinant: 1 + K is not positive (a Ritz value is {nodes[0]:.3g}); more noise makes it so"
        )
    return float(across[0] ** 2 @ np.log(nodes))


def _root(square: float) -> float:
    if not square > 0:
        raise ArithmeticError(f"log determinant: the preconditioner is not positive (a squared length is {square:.3g})")
    return float(np.sqrt(square))
