"""How far a whole structure is from those that a calibration knows."""

import equinox as eqx
import numpy as np
from jaxtyping import Float

from gpjaxpot.errors import InputError

# Known points that are kept, evenly spread over all, at the most.
KEPT = 256
# Distances below this share of the points' root mean square length are round-off or no matter.
LEAST = 1e-3


class Remoteness(eqx.Module):
    """Distance to the nearest known point: 1 is where the most remote known one was from the others.

    With the mean vector of a structure's environments for a point, this is the distance of average kernels: a new
    composition or phase is remote, though each of its environments may be of a usual kind.

    Source: De, Bartók, Csányi & Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016), for average kernels; Theiler, Phys.
    Rev. A 34, 2427 (1986), for leaving out neighbours in time.
    """

    points: Float[np.ndarray, "known size"]
    farthest: float
    """Distance that is scored 1."""

    @classmethod
    def fit(cls, points: Float[np.ndarray, "known size"]) -> "Remoteness":
        """Learn from known points, in the order of their trajectories if they have one.

        Of neighbours in time each is near by its other; so a point is compared with those alone that are more than a
        twentieth of all places away.

        Raises:
            InputError: for fewer than three points, or such as are not finite.
        """
        if len(points) < 3 or not np.all(np.isfinite(points)):
            raise InputError(f"remoteness is learned from three finite points at least, got {len(points)}")
        places = np.unique(np.linspace(0, len(points) - 1, min(KEPT, len(points))).round().astype(int))
        kept, window = points[places], len(points) // 20
        nearest = np.zeros(len(points))
        for i, distances in enumerate(_distances(points, kept)):
            nearest[i] = np.min(distances[np.abs(places - i) > window])
        least = LEAST * float(np.sqrt(np.mean(np.sum(points**2, axis=1))))
        return cls(kept, max(float(np.max(nearest)), least, 1e-300))

    def __call__(self, points: Float[np.ndarray, "new size"]) -> Float[np.ndarray, " new"]:
        """The score of each point, from zero up."""
        return np.min(_distances(points, np.asarray(self.points)), axis=1) / self.farthest


def _distances(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "a b"]:
    from scipy.spatial.distance import cdist

    return cdist(a, b)
