"""Noise for the exact mean: that by which structures are predicted best that it is made without."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gpjaxpot.errors import InputError
from gpjaxpot.gp.left_out import WEIGHTS, LeftOut, accuracy, error_fall, error_fall_spread
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.potential.direct_system import DirectSystem
from gpjaxpot.potential.exact_system import Callback
from gpjaxpot.potential.held_out import Kept
from gpjaxpot.potential.iterative_system import IterativeSystem
from gpjaxpot.potential.levels import VARIANCE, Levels, calibrated
from gpjaxpot.potential.sparse_fit import Assembled

# The exact mean must lower the errors of structures left out by this share, since it predicts more slowly, and so many
# standard errors: of few structures one with large errors may decide.
WORTH = 0.05
SURE = 1.5
# Less noise must lower them by so much.
LEAST_GAIN = 0.02
# By a factor, the first noise that is tried is this share of the sparse model's, which has to stand for all that its
# inducing environments do not reach; then this share of it, and so on, while that lowers the errors by their standard
# error, too, for of few structures left out one may like little noise that others do not.  Or else the sparse model's
# own, if that does not raise them by as much, and more, if that lowers them by it.
SHARE = 0.25
# By iterations, half the noise takes twice as many, and a solution that does not converge in the time there is would be
# in vain.  So the first is for this much more noise than the sparse model's; the next for that itself, or half the way
# there, as there is time; others for half of it each.  The final solution takes `MORE` times the iterations.  Where the
# first does not converge, one with still more noise is tried.  What predicts best is taken, converged or not.
FIRST = 4.0
HALVINGS = 3
MORE = 1.4
# Residual, in units of the noise (root mean square, were all of it in the kind of labels that has the fewest: energies,
# which forces outnumber by hundreds), at which a comparison ends; iterations that one has in any case, and at the most.
ROUGH = 0.3
COMPARED = 40
LONGEST = 600

Found = tuple[Levels, str, dict[int, Float[np.ndarray, "_"]]]
Judgement = tuple[float, dict[str, float], LeftOut]
NOT_FINITE = "errors of structures left out are not finite"


@dataclass(frozen=True)
class Trial:
    """Structures to leave out, and the sparse model that the exact mean is compared with."""

    assembled: Assembled
    start: dict[str, float]
    """The sparse model's levels."""
    places: Sequence[int]
    kept: Kept
    """The structures at `places`."""
    asked: bool
    """Whether the exact mean is taken whatever comes out."""

    def by_factor(self, system: DirectSystem, factors: int, callback: Callback) -> Found | str:
        """Levels, why, and the errors of structures, each left out alone; or why the sparse mean is as good.

        `factors` are what there is time for.
        """
        best = self.noise(system, factors, callback)
        return best if isinstance(best, str) else self._verdict(*best, "")

    def at(self, levels: dict[str, float], system: DirectSystem, callback: Callback) -> Found | str:
        """The same at levels that were chosen before."""
        try:
            left = self._left(levels, system.errors(levels, self._shape, callback))
        except InputError as error:
            return str(error)
        score = float(accuracy(left, len(OBSERVABLES)))
        if not np.isfinite(score):
            return NOT_FINITE
        return self._verdict(score, levels, left, "")

    def noise(self, system: DirectSystem, factors: int, callback: Callback, more: bool = False) -> Judgement | str:
        """Score, levels and errors of structures with the noise that is best, each left out alone; or why with none.

        Where the mean is to be made of `more` structures, so much the less noise is best: it may be less as long as
        that does not raise errors.
        """
        best, lowest, share, less, why = None, None, SHARE, True, NOT_FINITE
        for k in range(max(1, factors)):
            levels = self._with(share)
            try:
                left = self._left(levels, system.errors(levels, self._shape, callback))
                score = float(accuracy(left, len(OBSERVABLES)))
            except InputError as error:  # so little noise that the matrix is not positive
                left, score, why = None, -np.inf, str(error)
            finite, away = np.isfinite(score), share > 1.0 or (less and not more)
            if left is not None and finite and (lowest is None or _better_noise(left, lowest[2], away)):
                best = score, levels, left
                lowest = best if lowest is None or score > lowest[0] else lowest
            elif less and k < 2:
                # No less than the first, then; perhaps that is too little already.
                less, share = False, SHARE
            else:
                break
            share *= SHARE if less else 1.0 / SHARE
        return why if best is None else best

    def by_iterations(self, system: IterativeSystem, products: int, callback: Callback) -> Found | str:
        """Levels, why, and the errors of structures, all of them left out at once; or why the sparse mean is as good.

        `products` are what there is time for; the first comparison has a few in any case.
        """
        # Without all of them at once, as the refined mean is: each left out alone, the sparse one would be favoured.
        places, sparse = self.places, self.assembled.left_out(self.start, self.kept)
        shape = sparse.kind.shape
        sparse = sparse.with_errors(system.sparse_errors(self.start, places, shape))
        spent = 0
        most = min(max(COMPARED, products // 3), LONGEST)
        best, guess, factor, tried, ended = None, None, FIRST, set(), ""
        while True:
            tried.add(factor)
            levels = self._with(factor)
            solution = system.solve(levels, ROUGH, most, callback, without=places, start=guess)
            spent += solution.iterations
            # What has not converged, too, is judged by what it predicts: ending early smooths, as noise does.
            left = self._left(levels, system.errors(levels, places, solution.values, shape))
            score = float(accuracy(left, len(OBSERVABLES)))
            better = _better(score, best, factor < 1.0)
            if better:
                share = solution.residual / np.sqrt(max(len(solution.values), 1))
                short = f", by {solution.iterations} iterations that left {share:.2g} of the noise"
                best, ended = (score, levels, left), "" if solution.converged else short
            if solution.converged:
                # For 1/c of the noise the judged and the final solution will take c times the iterations.
                cost = {c: c * solution.iterations for c in ((FIRST, 2.0) if factor == FIRST else (2.0,))}
                possible = [c for c, k in cost.items() if k <= most and spent + (1.0 + MORE) * k <= products]
                possible = [c for c in possible if factor / c not in tried]
                if not (better and possible and factor > 0.5**HALVINGS):
                    break
                change = 1.0 / possible[0]
            elif factor == FIRST and spent < products:
                change = FIRST
            else:
                break
            factor, guess = change * factor, change * solution.values
        assert best is not None  # the first solution is judged in any case
        if not np.isfinite(best[0]):
            return f"{spent} iterations did not bring the residual below the noise"
        return self._verdict(*best, ended, sparse)

    @property
    def _shape(self) -> tuple[int, int]:
        """Structures to leave out, and the rows that the largest of them has."""
        return self.assembled.left_out(self.start, self.kept).kind.shape

    def _with(self, factor: float) -> dict[str, float]:
        """The levels with so many times the noise."""
        return {n: v if n == VARIANCE else v * factor for n, v in self.start.items()}

    def _left(self, levels: dict[str, float], errors: Float[np.ndarray, "structures rows"]) -> LeftOut:
        """Errors of the exact mean with the variances that predictions will have, the sparse model's."""
        return self.assembled.left_out(levels, self.kept).with_errors(errors)

    def _verdict(
        self, score: float, levels: dict[str, float], left: LeftOut, ended: str, sparse: LeftOut | None = None
    ) -> Found | str:
        sparse = self.assembled.left_out(self.start, self.kept) if sparse is None else sparse
        kinds, places = len(OBSERVABLES), self.places
        gain = float(np.expm1((score - float(accuracy(sparse, kinds))) / sum(WEIGHTS)))
        spread = error_fall_spread(left, sparse, kinds)
        unsure = np.log1p(gain) < SURE * spread
        if (gain < WORTH or unsure) and not self.asked:
            fall = 100 * gain / (1 + gain)
            how = f"fall by {fall:.1f} ± {100 * spread:.1f} % only" if gain > 0 else f"rise by {-fall:.1f} %"
            return f"errors of {len(places)} structures left out would {how}{ended}"
        found = calibrated(levels, left, places)
        data = self.assembled.data
        errors = {i: np.asarray(row)[: len(data[i])] for i, row in zip(places, left.error, strict=True)}
        reason = f"errors of {len(places)} structures left out fall by {100 * gain / (1 + gain):.0f} %{ended}"
        return found, reason, errors


def _better(score: float, best: Judgement | None, less: bool) -> bool:
    """Whether a score is the best; of `less` noise only if it gains something."""
    return best is None or score > best[0] + (LEAST_GAIN * sum(WEIGHTS) if less else 0.0)


def _better_noise(new: LeftOut, old: LeftOut, away: bool) -> bool:
    """Whether noise is better by its errors: farther `away` from the sparse model's it must prove itself."""
    fall = error_fall(new, old, len(OBSERVABLES))
    spread = error_fall_spread(new, old, len(OBSERVABLES))
    return fall > max(LEAST_GAIN, spread) if away else fall > -spread
