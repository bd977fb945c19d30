r"""What share of a new group's points a conformal quantile holds: more than its level, where groups have many points.

The atoms of a new structure are as many infinite scores to a conformal quantile, which so keeps its level even if all
of them err together.  Where they do not, it holds a share that is larger by up to p/n, 1.3 points at p = 0.9 with 70
structures.  The share is found by leaving each group out and looking at it with the quantile of the others:

    $C(a) = a + \sum_g w_g [F_g(q_{-g}(a)) - a_{-g}]$,

with F_g the share of a group's scores below the others' quantile at level a, $a_{-g} \ge a$ the level at which that
order statistic stands among the others, and w_g the group's share of the points.  Groups of one point each give
C(a) = a.

Source: our own; for leaving groups out, Barber, Candès, Ramdas & Tibshirani, Ann. Statist. 49, 486 (2021) (jackknife+).
"""

import numpy as np
from jaxtyping import Float, Int

Levels = Float[np.ndarray, " levels"]
# Groups that are left out in turn, at the most: of more of them, evenly spaced ones.
MOST = 256


def held_shares(scores: Float[np.ndarray, " points"], place: Int[np.ndarray, " points"], levels: Levels) -> Levels:
    """Shares of a new group's points that the conformal quantiles at ascending `levels` hold; never less than these.

    Args:
        scores: of the points.
        place: each one's group, numbered from zero; a large group counts more, as in `group_weights` by point.
        levels: of conformal quantiles of all scores.

    Returns:
        The shares, ascending; the levels themselves, if there is one group alone.
    """
    count = int(np.max(place)) + 1
    if count < 2:
        return levels
    order = np.argsort(scores, kind="stable")
    group, ascending = place[order], scores[order]
    # Of equal scores the last, which counts them all.
    last = np.append(np.searchsorted(ascending, ascending, side="right") - 1, len(scores))
    sizes = np.bincount(group, minlength=count).astype(float)
    ranks = np.arange(1.0, len(group) + 1.0)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int))
    excess = np.zeros(len(levels))
    for g in chosen:
        own = np.cumsum(group == g)
        others = ranks - own
        # A new group has the mean size of those that are known.
        total = others[-1] * count / (count - 1.0)
        at = last[np.searchsorted(others, levels * total * (1.0 - 1e-9))]
        excess += np.append(own, sizes[g])[at] - np.append(others / total, 1.0)[at] * sizes[g]
    return np.maximum.accumulate(np.maximum(levels + excess / np.sum(sizes[chosen]), levels))
