"""Errors of forces with their spreads, of all atoms of some structures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from gpjaxpot.potential.calibration import root_spread
from gpjaxpot.potential.compared import Known
from gpjaxpot.uncertainty.vector_scores import mahalanobis_squared


@dataclass(frozen=True)
class ForceScores:
    """Atoms with an uncertain force of all structures: errors, spreads with noise, and whose they are."""

    errors: Float[np.ndarray, "atoms 3"]
    stds: Float[np.ndarray, "atoms 3"]
    """0 for components that are certain by symmetry."""
    covariances: Float[np.ndarray, "atoms 3 3"]
    vectors: Float[np.ndarray, "atoms size"]
    numbers: Int[np.ndarray, " atoms"]
    structure: Int[np.ndarray, " atoms"]

    @classmethod
    def of(cls, known: Sequence[Known], solid: bool = True) -> "ForceScores | None":
        """Collect the atoms whose force is uncertain in all directions (`solid`) or in any; None if there are none."""
        parts: list[tuple] = []
        for place, k in enumerate(known):
            c = k.compared
            if c.forces_error is None or c.forces_std is None or c.forces_covariance is None:
                continue
            used = is_solid(c.forces_covariance, c.forces_std) if solid else np.any(c.forces_std > 0, axis=1)
            if np.any(used):
                at = np.full(int(np.sum(used)), place)
                own = (c.forces_error, c.forces_std, c.forces_covariance, np.asarray(k.vectors), np.asarray(k.numbers))
                parts.append((*(a[used] for a in own), at))
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else None

    @property
    def lengths(self) -> Float[np.ndarray, " atoms"]:
        """Mahalanobis length of each error; of solid ones alone."""
        return np.sqrt(mahalanobis_squared(self.errors, self.covariances))

    @property
    def spread(self) -> Float[np.ndarray, " atoms"]:
        """Raw spread of each force."""
        return root_spread(self.stds)


def is_solid(
    covariance: Float[np.ndarray, "atoms 3 3"], std: Float[np.ndarray, "atoms 3"]
) -> Bool[np.ndarray, " atoms"]:
    """Whether the ellipsoid of an atom's force has a volume: no direction is certain by symmetry."""
    return np.all(std > 0, axis=1) & (np.linalg.eigvalsh(covariance)[:, 0] > 0)
