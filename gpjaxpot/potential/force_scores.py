"""Errors of forces with their spreads, of all atoms of some structures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy  # finds scipy.stats, half a second, when it is asked for
from jaxtyping import Bool, Float, Int

from gpjaxpot.potential.calibration import marked, root_spread
from gpjaxpot.potential.compared import Known
from gpjaxpot.uncertainty.reduction import Reduction
from gpjaxpot.uncertainty.vector_scores import mahalanobis_squared

# Numbers in the vectors that a reduction is learned from, at the most: 128 MB.
SAMPLED = 1 << 24


@dataclass(frozen=True)
class ForceScores:
    """Atoms with an uncertain force of all structures: errors, spreads with noise, and whose they are."""

    errors: Float[np.ndarray, "atoms 3"]
    stds: Float[np.ndarray, "atoms 3"]
    """0 for components that are certain by symmetry."""
    covariances: Float[np.ndarray, "atoms 3 3"]
    numbers: Int[np.ndarray, " atoms"]
    structure: Int[np.ndarray, " atoms"]
    sources: tuple[tuple[Known, Any], ...]
    """Each structure, and which of its atoms these are: vectors are asked for when they are wanted."""

    @classmethod
    def of(cls, known: Sequence[Known]) -> "ForceScores | None":
        """Collect the atoms whose force is uncertain in any direction; None if there are none."""
        parts: list[tuple] = []
        sources: list[tuple] = []
        for place, k in enumerate(known):
            c = k.compared
            if c.forces_error is None or c.forces_std is None or c.forces_covariance is None:
                continue
            used = np.any(c.forces_std > 0, axis=1)
            if np.any(used):
                at = np.full(int(np.sum(used)), place)
                own = (c.forces_error, c.forces_std, c.forces_covariance, np.asarray(k.numbers))
                parts.append((*(a[used] for a in own), at))
                sources.append((k, used))
        if not parts:
            return None
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)), sources=tuple(sources))

    @cached_property
    def solid(self) -> Bool[np.ndarray, " atoms"]:
        """Whether the ellipsoid of an atom's force has a volume: no direction is certain by symmetry."""
        return np.all(self.stds > 0, axis=1) & (np.linalg.eigvalsh(self.covariances)[:, 0] > 0)

    @cached_property
    def lengths(self) -> Float[np.ndarray, " atoms"]:
        """Mahalanobis length of each error; of an atom with certain directions by its other components alone.

        That of fewer components is as long as what is as probable in three, so that all have one distribution if errors
        are Gaussian.
        """
        solid, lengths = self.solid, np.zeros(len(self.errors))
        if solid.any():
            lengths[solid] = np.sqrt(mahalanobis_squared(self.errors[solid], self.covariances[solid]))
        errors, stds = self.errors[~solid], self.stds[~solid]
        part = stds > 0
        size = np.sqrt(np.sum(np.where(part, errors / np.where(part, stds, 1.0), 0.0) ** 2, axis=1))
        beyond = np.maximum(scipy.stats.chi.sf(size, np.sum(part, axis=1)), np.finfo(float).tiny)
        lengths[~solid] = scipy.stats.chi.isf(beyond, 3)
        return lengths

    @property
    def vectors(self) -> Float[np.ndarray, "atoms size"]:
        """Of all atoms at once, which may be much: a calibration takes `sample` and `reduced`."""
        return np.concatenate([known.vectors[used] for known, used in self.sources])

    def sample(self, species: Sequence[int], most: int = SAMPLED) -> Float[np.ndarray, "some marked"]:
        """The `marked` vectors of all atoms; if these are more than `most` numbers, of structures spread evenly."""
        width = next(self._marked(species, self.sources[:1])).shape[1]
        share = min(1.0, most / (len(self.errors) * width))
        count = max(1, int(share * len(self.sources)))
        places = np.linspace(0, len(self.sources) - 1, count).round().astype(int)
        return np.concatenate(list(self._marked(species, [self.sources[i] for i in places])))

    def reduced(self, reduction: Reduction, species: Sequence[int]) -> Float[np.ndarray, "atoms reduced"]:
        """The reduced vectors of all atoms, made structure by structure."""
        return np.concatenate([reduction(vectors) for vectors in self._marked(species, self.sources)])

    @staticmethod
    def _marked(species: Sequence[int], sources: Sequence[tuple]) -> Iterator[Float[np.ndarray, "some marked"]]:
        for known, used in sources:
            yield marked(known.vectors[used], known.numbers[used], species)

    @property
    def spread(self) -> Float[np.ndarray, " atoms"]:
        """Raw spread of each force."""
        return root_spread(self.stds)
