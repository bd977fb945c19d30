"""A last conformal step: one factor for each level, which gives any calibration the guarantee of regular ones."""

import numpy as np
from jaxtyping import Float

from gpjaxpot.uncertainty.calibrator import AbstractCalibrator
from gpjaxpot.uncertainty.conformal import conformal_quantile


class Conformalised(AbstractCalibrator):
    """Quantiles of another calibration, times a factor for each level.

    A factor leaves the ranking of points as it is.

    Source: Romano, Patterson & Candès, NeurIPS (2019), with factors for their differences.
    """

    levels: Float[np.ndarray, " levels"]
    inner: AbstractCalibrator
    factors: Float[np.ndarray, " levels"]

    def quantiles(self, features: Float[np.ndarray, "points _"]) -> Float[np.ndarray, "points levels"]:
        """Quantiles of the score at each point: what to multiply its uncertainty by."""
        return self.inner.quantiles(features) * self.factors

    @classmethod
    def fit(
        cls, inner: AbstractCalibrator, scores: Float[np.ndarray, " points"],
        quantiles: Float[np.ndarray, "points levels"], weights: Float[np.ndarray, " points"] | None = None,
        new_weight: float = 1.0,
    ) -> "Conformalised":  # fmt: skip
        """Find the factors on points that `inner` has not seen, where it tells `quantiles`.

        These may be points of their own, `inner.quantiles(features)`, with the guarantee of `conformal_quantile`; or
        the points it was trained on, with what `cross_fit` tells of each from a network trained without it, where the
        guarantee is that of cross-validation: nearly the level, and proven for twice its complement alone.
        """
        factors = [
            conformal_quantile(scores / quantiles[:, k], float(level), weights, new_weight)
            for k, level in enumerate(inner.levels)
        ]
        return cls(inner.levels, inner, np.array(factors))
