"""What uncertainties are worth to active learning: how soon they find the largest errors."""

import math

import numpy as np
from jaxtyping import Float

from gpjaxpot.errors import InputError


def retrieval_curve(
    uncertainty: Float[np.ndarray, " points"], error: Float[np.ndarray, " points"], share: float = 0.05
) -> tuple[Float[np.ndarray, " looked"], Float[np.ndarray, " looked"]]:
    """Share of the largest |error| found among the points of largest uncertainty, against how many are looked at.

    Chance gives the diagonal; a perfect uncertainty finds all of them at `share`.

    Args:
        uncertainty: of each point, or each structure.
        error: in whatever unit.
        share: of the points that count as large errors, rounded up.

    Returns:
        Shares of the points looked at, from 0 to 1, and shares of the large errors among them.

    Raises:
        InputError: for no points, or a share outside (0, 1].
    """
    if not len(error) or len(error) != len(uncertainty) or not 0.0 < share <= 1.0:
        raise InputError(
            f"retrieval wants as many uncertainties as errors, and a share in (0, 1]: got {len(uncertainty)}, "
            f"{len(error)} and {share}"
        )
    count = math.ceil(share * len(error))
    large = np.zeros(len(error))
    large[np.argsort(-np.abs(error), kind="stable")[:count]] = 1.0
    # Equal uncertainties are no order: their large errors are spread evenly over them.
    _, place, sizes = np.unique(-uncertainty, return_inverse=True, return_counts=True)
    even = (np.bincount(place, weights=large) / sizes)[np.sort(place)]
    found = np.append(0.0, np.cumsum(even)) / count
    return np.linspace(0.0, 1.0, len(error) + 1), found


def retrieval_score(
    uncertainty: Float[np.ndarray, " points"], error: Float[np.ndarray, " points"], share: float = 0.05
) -> float:
    """Share of the largest |error| that is found by looking at as many points as there are of them."""
    looked, found = retrieval_curve(uncertainty, error, share)
    return float(np.interp(math.ceil(share * len(error)) / len(error), looked, found))
