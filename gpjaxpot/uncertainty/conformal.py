r"""Conformal quantiles: how large scores of new points are, with a guarantee for finitely many calibration points.

A score is large where a prediction is bad: |error|/σ, or the Mahalanobis length of a force error.  If calibration
points and a new one are exchangeable, the k-th smallest of n scores, $k = \lceil (n+1) p \rceil$, is not exceeded with
probability $k/(n+1) \ge p$; where k > n, no finite number will do.  Given the calibration points, that probability
follows Beta(k, n+1−k).

Points that are not exchangeable one by one, such as the atoms of a structure, carry weights: a new point of weight w
may lie anywhere, so its weight counts as one infinite score.

Sources: Vovk, Gammerman & Shafer, *Algorithmic Learning in a Random World* (2005); Tibshirani, Barber, Candès & Ramdas,
NeurIPS (2019) for weights; Lee, Barber & Willett, arXiv:2306.06342, for groups; Vovk, ACML (2012) for the Beta law.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.errors import InputError

Points = Float[np.ndarray, " points"]
Weights = Float[np.ndarray, "_"]
"""Checked to be as many as the points."""
# (n + 1) p of decimal numbers may miss a whole number by round-off.
_ROUND_OFF = 1e-9


def conformal_rank(count: int, level: float) -> int | None:
    r"""The rank $\lceil (n+1) p \rceil$ of the score to take, from 1; None where it exceeds `count`.

    Raises:
        InputError: for a level outside (0, 1).
    """
    check_level(level)
    rank = math.ceil((count + 1) * level - _ROUND_OFF)
    return rank if rank <= count else None


def conformal_quantile(
    scores: Points, level: float, weights: Weights | None = None, new_weight: float = 1.0
) -> float:
    r"""The smallest score that holds a share `level` of all weight, a new point's included; inf if none does.

    Without weights this is the score of rank $\lceil (n+1) p \rceil$ exactly.

    Args:
        scores: of the calibration points.
        level: probability with which a new score shall not be larger.
        weights: of the points, not negative: 1/size of each point's group for one score drawn from a new group (see
            `group_weights`), or the density ratio of new to calibration points under covariate shift.
        new_weight: of the new point, on the same scale.

    Raises:
        InputError: for a level outside (0, 1), NaN scores, negative weights, or weights that are not one a score.
    """
    return float(conformal_quantiles(scores, np.array([level]), weights, new_weight)[0])


def conformal_quantiles(
    scores: Points, levels: Float[np.ndarray, " levels"], weights: Weights | None = None, new_weight: float = 1.0
) -> Float[np.ndarray, " levels"]:
    """`conformal_quantile` for several levels at once."""
    for level in levels:
        check_level(float(level))
    if np.any(np.isnan(scores)):
        raise InputError("a score is NaN: leave out the points without a prediction or a label")
    used = np.ones(len(scores)) if weights is None else weights
    if used.shape != scores.shape or np.any(~(used >= 0)) or not new_weight >= 0:
        raise InputError(
            f"weights must be as many as the scores ({len(scores)}) and not negative, got {used.shape} of them"
        )
    order = np.argsort(scores, kind="stable")
    held = np.cumsum(used[order])
    total = (held[-1] if len(held) else 0.0) + new_weight
    if total == 0:
        return np.full(len(levels), np.inf)
    places = np.searchsorted(held, levels * total * (1.0 - _ROUND_OFF))
    return np.append(scores[order], np.inf)[places]


def highest_level(scores: Points, weights: Points | None = None, new_weight: float = 1.0) -> float:
    """The largest probability for which there is a finite quantile."""
    held = float(len(scores) if weights is None else np.sum(weights))
    return held / (held + new_weight) if held + new_weight > 0 else 0.0


def group_weights(groups: Sequence[Hashable] | np.ndarray, by: str = "group") -> tuple[Points, float]:
    """Weights for points that come in groups, such as the atoms of structures, and that of a new point.

    The groups are exchangeable, their points are not.  With `by="group"` every group counts alike: the quantile is that
    of one point drawn from a new group, with the guarantee of as many points as there are groups.  With `by="point"`
    large groups count more, as they do in an average over all points; a new group then counts as an average one, and
    the guarantee holds as far as sizes and scores of groups do not go together.

    Raises:
        InputError: if there is no point, or for another `by`.
    """
    if len(groups) == 0:
        raise InputError("no points to calibrate on: give at least one score with its group")
    if by not in ("group", "point"):
        raise InputError(f'by must be "group" or "point", got {by!r}')
    place = group_places(groups)
    sizes = np.bincount(place)
    if by == "group":
        return 1.0 / sizes[place].astype(float), 1.0
    return np.ones(len(place)), float(np.mean(sizes))


def mondrian_quantiles(
    scores: Points, classes: Sequence[Hashable] | np.ndarray, level: float,
    groups: Sequence[Hashable] | np.ndarray | None = None, by: str = "group",
) -> dict[Hashable, float]:  # fmt: skip
    """A quantile for each class (species, group of structures), which holds its level within each class.

    Classes with too few points for the level have the quantile inf.  With `groups`, points of one class and group go
    together, as in `group_weights`.
    """
    names = classes.tolist() if isinstance(classes, np.ndarray) else classes
    class_of = group_places(classes)
    group_of = None if groups is None else group_places(groups)
    found: dict[Hashable, float] = {}
    for number, first in zip(*np.unique(class_of, return_index=True), strict=True):
        own = class_of == number
        weighted = (None, 1.0) if group_of is None else group_weights(group_of[own], by)
        found[names[first]] = conformal_quantile(scores[own], level, *weighted)
    return found


def group_places(groups: Sequence[Hashable] | np.ndarray) -> Int[np.ndarray, " points"]:
    """A number for each point's group, counted from zero; groups may have names of any kind."""
    if isinstance(groups, np.ndarray):
        return np.unique(groups, return_inverse=True)[1].reshape(-1)
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in groups], dtype=np.int64)


def check_level(level: float) -> None:
    """Refuse what is no probability of an interval.

    Raises:
        InputError: for a level outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"a level is a probability between 0 and 1, such as 0.9, got {level!r}")
