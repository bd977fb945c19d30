"""What every calibration of a heuristic uncertainty has in common."""

import abc

import equinox as eqx
import numpy as np
from jaxtyping import Float


class AbstractCalibrator(eqx.Module):
    """Tells, at any point, the quantiles of the score |error|/uncertainty: what to multiply the uncertainty by."""

    levels: eqx.AbstractVar[Float[np.ndarray, " levels"]]
    """Probabilities of the quantiles, ascending."""

    @abc.abstractmethod
    def quantiles(self, features: Float[np.ndarray, "points _"]) -> Float[np.ndarray, "points levels"]:
        """Quantiles of the score at each point, one column a level."""
