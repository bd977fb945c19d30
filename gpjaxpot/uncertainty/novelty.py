"""How far an environment is from those that a calibration knows."""

from collections.abc import Hashable, Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Float

from gpjaxpot.uncertainty.classes import GaussianClasses
from gpjaxpot.uncertainty.conformal import group_places
from gpjaxpot.uncertainty.flexible import deal

FOLDS = 5
CLASSES = 8


class Novelty(eqx.Module):
    """A score from the density of a Gaussian mixture: near 0 for usual points, 1 where the rarest known one was.

    Above one, a point is of a kind that was not there to calibrate on: what the calibration says of it is extrapolated.

    Source: Zhu, Batzner, Musaelian & Kozinsky, J. Chem. Phys. 158, 164111 (2023), for the density as a score.
    """

    mixture: GaussianClasses
    usual: float
    """Logarithm of the median density of the known points."""
    rare: float
    """Logarithm of the lowest density of any of them, as seen by those of other groups."""

    @classmethod
    def fit(
        cls, features: Float[np.ndarray, "points size"], groups: Sequence[Hashable] | np.ndarray | None = None,
        seed: int = 0,
    ) -> "Novelty":  # fmt: skip
        """Learn from the known points.

        How rare points can be is told by mixtures that do not know them: those fitted without each fifth of the
        `groups`, such as structures, in turn.  A mixture's own points look more usual to it than new ones.
        """
        fold = deal(np.arange(len(features)) if groups is None else group_places(groups), FOLDS, seed)
        density = np.zeros(len(features))
        for k in range(int(np.max(fold)) + 1):
            out = fold == k
            known = features if np.all(out) else features[~out]
            density[out] = GaussianClasses.fit(known, CLASSES, seed).log_density(features[out])
        usual, rare = float(np.median(density)), float(np.min(density))
        return cls(GaussianClasses.fit(features, CLASSES, seed), usual, min(rare, usual - 1.0))

    def __call__(self, features: Float[np.ndarray, "points size"]) -> Float[np.ndarray, " points"]:
        """The score of each point, from zero up."""
        density = self.mixture.log_density(features)
        return np.maximum(self.usual - density, 0.0) / (self.usual - self.rare)
