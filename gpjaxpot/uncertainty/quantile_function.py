r"""How wide intervals are, in units of a model's own σ, at any level: what a calibration knows of one observable.

The error of a prediction, divided by σ, is taken as symmetric about zero, with $P(|z| \le Q(p)) = p$.  A Gaussian has
$Q(p) = Φ^{-1}((1 + p)/2)$; a calibrated σ is $Q(0.6827)\,σ$, the half-width of the interval that a Gaussian's σ is.
"""

import math
from collections.abc import Hashable, Sequence

import equinox as eqx
import numpy as np
import scipy  # finds scipy.interpolate, a fifth of a second, when it is asked for
from jaxtyping import Float
from scipy import special

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty.conformal import check_level, conformal_quantiles, group_places, group_weights
from gpjaxpot.uncertainty.group_levels import held_shares

ONE_SIGMA = math.erf(1.0 / math.sqrt(2.0))
"""Probability of a Gaussian within one σ, 0.6827."""
# Levels at which the quantiles of many scores are kept, besides those that are asked for most.
_KEPT = 400
_ALWAYS = (0.5, 0.68, ONE_SIGMA, 0.8, 0.9, 0.95, 0.98, 0.99)
# A density is smooth through so many quantiles at the most, and as few as the root of the number of points.
_SMOOTH = (3, 14)
# How far a Gaussian's function is kept, in σ; and how scores integrate a tail beyond the last quantile: these shares of
# what is left.
_FARTHEST = 6.0
_TAIL = 1.0 - np.geomspace(1.0, 1e-9, 60)[1:]

Values = Float[np.ndarray, "..."]


class QuantileFunction(eqx.Module):
    """Half-widths of central intervals in units of σ, at ascending levels; between them the next wider one holds.

    Beyond `limit` there is no interval: too few calibration points.  Scores, which need some tail, take a Gaussian one
    that goes on from there.
    """

    levels: Float[np.ndarray, " levels"]
    widths: Float[np.ndarray, " levels"]
    limit: float
    """The highest level with an interval."""
    effective: float
    """Number of independent points that it was made from."""
    exact: bool = False
    """Whether it is that of a Gaussian, at any level."""

    @classmethod
    def gaussian(cls, scale: float, effective: float = math.inf, directions: int = 1) -> "QuantileFunction":
        """That of a Gaussian with `scale` times the σ; with several directions, of the length of its vectors."""
        even = 2.0 * special.ndtr(np.linspace(0.0, _FARTHEST, _KEPT)) - 1.0
        levels = np.unique(np.concatenate([even, np.array(_ALWAYS)]))
        lengths = np.sqrt(2.0 * special.gammaincinv(0.5 * directions, levels))  # of the χ distribution
        return cls(levels, scale * lengths, 1.0, float(effective), exact=True)

    @classmethod
    def from_scores(
        cls, scores: Float[np.ndarray, " points"], weights: Float[np.ndarray, "_"] | None = None,
        new_weight: float = 1.0,
    ) -> "QuantileFunction":  # fmt: skip
        """The conformal quantiles of |error|/σ; see `conformal_quantile` for the weights.

        Every order statistic is kept, or, of very many, enough of them: between two that are kept the larger one holds.

        Raises:
            InputError: for no points, scores that are negative or NaN, no finite one, or a new weight of nothing.
        """
        if len(scores) == 0 or not np.all(scores >= 0) or not np.any(np.isfinite(scores)):
            raise InputError(f"{len(scores)} scores, not all numbers from zero up: give |error|/σ of each point")
        if not new_weight > 0:
            raise InputError(f"the weight of a new point must be positive, got {new_weight}")
        finite = np.isfinite(scores)
        used = np.ones(len(scores)) if weights is None else weights
        total = float(np.sum(used)) + new_weight
        limit = float(np.sum(used[finite])) / total
        steps = np.cumsum(used[np.argsort(scores, kind="stable")])[: int(np.sum(finite))] / total
        if len(steps) > 4 * _KEPT:
            wanted = limit * np.concatenate([np.linspace(0, 1, _KEPT + 1)[1:], 1 - np.geomspace(0.1, 1e-7, _KEPT)])
            steps = np.unique(steps[np.minimum(np.searchsorted(steps, wanted), len(steps) - 1)])
        steps = steps[(steps > 0) & (steps < 1)]
        levels = np.unique(np.concatenate([steps, [p for p in _ALWAYS if p <= limit]]))
        widths = conformal_quantiles(scores, levels, weights, new_weight)
        return cls(np.append(0.0, levels), np.append(0.0, widths), limit, total / new_weight - 1.0)

    @classmethod
    def from_groups(
        cls, scores: Float[np.ndarray, " points"], groups: Sequence[Hashable] | np.ndarray
    ) -> "QuantileFunction":
        """Quantiles of |error|/σ of points that come in groups, such as the atoms of structures.

        Order statistics at the level that groups left out show them to have (`held_shares`): those of `from_scores` are
        made for points that err together, and hold more than they promise where they do not.  Up to the same limit.

        Raises:
            InputError: as `from_scores`.
        """
        made = cls.from_scores(scores, *group_weights(groups, by="point"))
        levels = made.levels.copy()
        levels[1:] = held_shares(scores, group_places(groups), made.levels[1:])
        asked = np.array([p for p in (*_ALWAYS, made.limit) if p <= made.limit])
        # Of equal levels the least width will do; there is one for each level that is asked for.
        every = np.unique(np.concatenate([levels[levels <= made.limit], asked]))
        place = np.minimum(np.searchsorted(levels, every), len(levels) - 1)
        return cls(every, made.widths[place], made.limit, made.effective)

    def supports(self, level: float) -> bool:
        """Whether there is an interval of this level."""
        return bool(level <= self.limit * (1.0 + 1e-9))

    def width(self, level: float) -> float:
        """Half-width of the interval of this level, in units of σ.

        Raises:
            InputError: for a level outside (0, 1), or one for which there were too few calibration points.
        """
        check_level(level)
        if not self.supports(level):
            raise InputError(
                f"the calibration supports levels up to {self.limit:.3g}, not {level:g}: it would take at least "
                f"{math.ceil(level / (1.0 - level) - 1e-9)} independent structures, there were {self.effective:.0f}; "
                "calibrate on more structures, or ask for the raw spread"
            )
        if self.exact:  # its widths are linear in the normal quantile
            return float(np.interp(_normal(np.array(level)), _normal(self.levels), self.widths))
        place = int(np.searchsorted(self.levels, level * (1.0 - 1e-9)))
        return float(self.widths[min(place, len(self.widths) - 1)])

    @property
    def sigma(self) -> float:
        """Half-width of the 68.27 % interval: what one calibrated σ is, in units of the raw one."""
        return self.width(ONE_SIGMA)

    def probability(self, z: Values) -> Values:
        """P(|error| ≤ |z| σ): the level of the interval that reaches just to z."""
        levels, widths = self._with_tail()
        return np.interp(np.abs(z), widths, levels)

    def pit(self, z: Values) -> Values:
        """Probability integral transform of errors (truth less prediction) in units of σ."""
        return 0.5 + 0.5 * np.sign(z) * self.probability(z)

    def crps(self, z: Values) -> Values:
        r"""Continuous ranked probability score of errors in units of σ, in that unit.

        $\int (F(x) - 1\{x \ge z\})^2 dx$, exactly, for the distribution whose function is linear between the levels.
        """
        levels, x = self._with_tail()
        upper = 0.5 + 0.5 * levels
        steps = np.diff(x)
        below = np.append(0.0, np.cumsum(steps * _square(upper[:-1], upper[1:])))
        rest = np.append(0.0, np.cumsum(steps * _square(1.0 - upper[:-1], 1.0 - upper[1:])))
        size = np.abs(z)
        at = np.clip(np.searchsorted(x, size, side="right") - 1, 0, len(x) - 2)
        here = np.minimum(size, x[-1])
        value = np.interp(here, x, upper)
        part = here - x[at]
        inside = below[at] + part * _square(upper[at], value)
        outside = rest[-1] - rest[at] - part * _square(1.0 - upper[at], 1.0 - value)
        return rest[-1] + inside + outside + np.maximum(size - x[-1], 0.0)

    def log_density(self, z: Values) -> Values:
        """Logarithm of the density of errors in units of σ: smooth, through some of the quantiles."""
        if self.widths[-1] <= 0:  # all errors were zero
            return np.where(np.asarray(z) == 0, np.inf, -np.inf)
        least, most = _SMOOTH
        count = int(np.clip(math.sqrt(min(self.effective, 1e6)), least, most))
        top = min(float(self.levels[-1]), 0.999)
        levels = 2.0 * special.ndtr(np.linspace(0.0, float(_normal(np.array(top))), count + 1)) - 1.0
        widths = np.interp(_normal(levels), _normal(self.levels), self.widths)
        # Equal quantiles would be an infinite density.
        apart = np.maximum.accumulate(widths + 1e-9 * np.arange(len(widths)) * max(float(widths[-1]), 1e-300))
        normal = _normal(levels)
        curve = scipy.interpolate.PchipInterpolator(apart, normal)
        size = np.abs(z)
        inside = np.minimum(size, apart[-1])
        slope = np.where(size <= apart[-1], curve.derivative()(inside), normal[-1] / apart[-1])
        place = curve(inside) + (size - inside) * normal[-1] / apart[-1]
        return -0.5 * place**2 - 0.5 * math.log(2.0 * math.pi) + np.log(np.maximum(slope, 1e-6))

    def _with_tail(self) -> tuple[Float[np.ndarray, " all"], Float[np.ndarray, " all"]]:
        """Levels and widths, with a Gaussian tail beyond the last."""
        last, width = float(self.levels[-1]), float(self.widths[-1])
        if self.exact:
            return self.levels, self.widths
        levels = last + (1.0 - last) * _TAIL
        levels = levels[(levels > last) & (levels < 1.0)]
        reach = float(_normal(np.array(last)))
        if reach <= 0 or not len(levels):
            return self.levels, self.widths
        return np.append(self.levels, levels), np.append(self.widths, width * _normal(levels) / reach)


def _normal(levels: Values) -> Values:
    """Half-widths of a Gaussian's intervals, in units of its σ."""
    return np.asarray(special.ndtri(0.5 + 0.5 * levels))


def _square(first: Values, last: Values) -> Values:
    """Mean of the square of a function that is linear between two values."""
    return (first**2 + first * last + last**2) / 3.0
