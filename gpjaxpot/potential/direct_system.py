"""The equations of the exact posterior solved by a factor of their matrix, where memory has room for that."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gpjaxpot.covariance.dense import covariance
from gpjaxpot.gp.conjugate_gradients import Solution
from gpjaxpot.gp.lanczos import LogDeterminant
from gpjaxpot.linalg.tiled_cholesky import TiledCholesky
from gpjaxpot.potential.exact_system import Callback, ExactSystem, contract
from gpjaxpot.potential.levels import VARIANCE
from gpjaxpot.potential.sparse_fit import Assembled

# Observations of structures left out that a part of the inverse is made of at once.
AT_ONCE = 512
# Scales that differ by this share are the same but for round-off: levels that are multiplied by one number, as learned
# ones are once their errors are known, ask for no other factor of the matrix.  They are rounded to so many bits, for a
# fit to the levels that were found to begin with the same numbers.
SAME, BITS = 1e-11, 38


@dataclass
class DirectSystem(ExactSystem):
    """The covariance of observations as a matrix, and its factor at the levels that were asked for last."""

    matrix: TiledCholesky
    last: Sequence[int]
    """Structures that can be left out: the last of the order but those of known σ."""

    @classmethod
    def make(
        cls, assembled: Assembled, some: Sequence[int], last: Sequence[int], callback: Callback, keep: bool = True
    ) -> "DirectSystem":
        """Make the covariance of the observations of `some` structures; those among them in `last` can be left out.

        It is kept for other levels, or, in half of the memory, the first factor takes its place, for levels that are
        those before times one number.  What such do not change, isolated atoms of known σ, is at the end.
        """
        able = set(last)
        known = [i for i in some if i not in able and assembled.data[i].known.all()]
        order = [i for i in some if i not in able and i not in known] + list(last) + known
        whole = contract(assembled, order, 0.0, callback)
        rows = sum(len(assembled.data[i]) for i in known)
        return cls(whole, assembled, order, TiledCholesky(covariance(whole, callback), keep, rows), list(last))

    def solve(
        self,
        levels: dict[str, float],
        tolerance: float,
        most: int,
        callback: Callback,
        right: Float[np.ndarray, " data"] | None = None,
    ) -> Solution:
        """As for any system; but for round-off the residual is 0, and there are no iterations.

        Raises:
            InputError: if covariance and noise are not positive definite.
        """
        self._factorise(levels, callback)
        right = self.targets / self.sigma(levels) if right is None else right
        return Solution(self.matrix.solve(right), 0, 0.0, True)

    def log_determinant(self, levels: dict[str, float], seed: int, callback: Callback) -> LogDeterminant:
        """By the factor."""
        self._factorise(levels, callback)
        return LogDeterminant(self.matrix.log_determinant, 0.0, 0, 0, 0)

    def errors(
        self, levels: dict[str, float], shape: tuple[int, ...], callback: Callback
    ) -> Float[np.ndarray, "structures rows"]:
        """Labels less predictions of the structures that can be left out, each without itself: `gp/left_out.py`."""
        values, sigma = self.solve(levels, 0.0, 0, callback).values, self.sigma(levels)
        out = np.zeros(shape)
        own = [self.own[i] for i in self.last]
        done = 0
        while done < len(own):
            # As many at once as make a product worth its while.
            first, some = own[done].start, [o for o in own[done:] if o.stop <= own[done].start + AT_ONCE]
            some = some or [own[done]]
            inverse = self.matrix.of_inverse(first, some[-1].stop)
            for row, here in zip(out[done:], some, strict=False):
                there = slice(here.start - first, here.stop - first)
                row[: here.stop - here.start] = sigma[here] * np.linalg.solve(inverse[there, there], values[here])
            done += len(some)
        return out

    def _factorise(self, levels: dict[str, float], callback: Callback) -> None:
        scale = _rounded(np.sqrt(levels[VARIANCE]) / self.sigma(levels))
        before = self.matrix.scale
        if before is not None:
            scale = np.where(np.isclose(scale, before, rtol=SAME, atol=0.0), before, scale)
            if np.array_equal(scale, before):
                return
        if not self.matrix.able(scale):
            del self.matrix  # memory has no room for two
            self.matrix = TiledCholesky(covariance(self.covariance, callback), False)
        self.matrix.factorise(scale, lambda done, total: callback("factor", done, total))


def _rounded(values: Float[np.ndarray, " data"]) -> Float[np.ndarray, " data"]:
    mantissas, exponents = np.frexp(values)
    return np.ldexp(np.round(np.ldexp(mantissas, BITS)), exponents - BITS)
