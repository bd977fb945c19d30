"""How far an environment is from those that a calibration knows."""

import equinox as eqx
import numpy as np
from jaxtyping import Float

from gpjaxpot.uncertainty.classes import GaussianClasses


class Novelty(eqx.Module):
    """A score from the density of a Gaussian mixture: near 0 for usual points, 1 where the rarest known one is.

    Above one, a point is of a kind that was not there to calibrate on: what the calibration says of it is extrapolated.

    Source: Zhu, Batzner, Musaelian & Kozinsky, J. Chem. Phys. 158, 164111 (2023), for the density as a score.
    """

    mixture: GaussianClasses
    usual: float
    """Logarithm of the median density of the known points."""
    rare: float
    """Logarithm of the lowest density of any of them."""

    @classmethod
    def fit(
        cls, features: Float[np.ndarray, "points size"], mixture: GaussianClasses | None = None, seed: int = 0
    ) -> "Novelty":
        """Learn from the known points; `mixture` is one that was fitted to them."""
        made = GaussianClasses.fit(features, 8, seed) if mixture is None else mixture
        density = made.log_density(features)
        usual, rare = float(np.median(density)), float(np.min(density))
        return cls(made, usual, min(rare, usual - 1.0))

    def __call__(self, features: Float[np.ndarray, "points size"]) -> Float[np.ndarray, " points"]:
        """The score of each point, from zero up."""
        density = self.mixture.log_density(features)
        return np.maximum(self.usual - density, 0.0) / (self.usual - self.rare)
