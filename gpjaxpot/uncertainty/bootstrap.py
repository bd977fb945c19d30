"""How sure a share is that was counted on points that come in groups."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty.conformal import group_places


def share_interval(
    inside: Bool[np.ndarray, " points"], groups: Sequence[Hashable] | np.ndarray, level: float = 0.99,
    draws: int = 2000, seed: int = 0,
) -> tuple[float, float]:  # fmt: skip
    """Bounds of the share of points `inside`, from drawing whole groups anew with replacement.

    Atoms of one structure err together, so that the structure is what is drawn.

    Raises:
        InputError: for no points, or fewer than two groups.
    """
    place = group_places(groups)
    count = len(np.unique(place))
    if len(inside) == 0 or count < 2:
        raise InputError(f"a bootstrap draws groups: it needs two at least, got {count}")
    hits, sizes = np.bincount(place, weights=inside), np.bincount(place).astype(float)
    drawn = np.random.default_rng(seed).integers(0, count, (draws, count))
    shares: Float[np.ndarray, " draws"] = np.sum(hits[drawn], axis=1) / np.sum(sizes[drawn], axis=1)
    low, high = np.quantile(shares, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
