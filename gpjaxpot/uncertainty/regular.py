"""Regular calibration: one conformal quantile for all points."""

import numpy as np
from jaxtyping import Float

from gpjaxpot.uncertainty.calibrator import AbstractCalibrator
from gpjaxpot.uncertainty.conformal import conformal_quantiles


class Regular(AbstractCalibrator):
    """A heuristic uncertainty times one number for each level.

    Multiplying all uncertainties by one number leaves every ranking as it is: Spearman's and Pearson's correlation and
    the AUROC are those of the heuristic.

    Source: split conformal prediction, Vovk et al. (2005), with normalised scores.
    """

    levels: Float[np.ndarray, " levels"]
    quantiles_: Float[np.ndarray, " levels"]

    @classmethod
    def fit(
        cls, scores: Float[np.ndarray, " points"], levels: Float[np.ndarray, " levels"],
        weights: Float[np.ndarray, " points"] | None = None, new_weight: float = 1.0,
    ) -> "Regular":  # fmt: skip
        """Take the conformal quantiles of the scores |error|/uncertainty; see `conformal_quantile`."""
        return cls(levels, conformal_quantiles(scores, levels, weights, new_weight))

    def quantiles(self, features: Float[np.ndarray, "points _"]) -> Float[np.ndarray, "points levels"]:
        """Quantiles of the score at each point: what to multiply its uncertainty by."""
        return np.broadcast_to(self.quantiles_, (len(features), len(self.levels)))
