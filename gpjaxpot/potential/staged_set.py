"""A training set in batches, with features and their derivatives: made once where memory allows."""

from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
from jaxtyping import Float

from gpjaxpot.covariance.features import Environments, Stage, stage
from gpjaxpot.covariance.rows import as_numpy, inducing_rows
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.batching import batches, collated
from gpjaxpot.potential.crew import ALONE, Crew
from gpjaxpot.structures.batch import Batch, Neighbourhood


class StagedSet:
    """Batches of structures, each staged when it is asked for; what fits into `memory` bytes is kept.

    Growing a model asks for every batch again and again, and derivatives cost more than what is made of them.
    """

    def __init__(
        self, kernel: EnergyKernel, found: Sequence[Neighbourhood], memory: float = 0.0, crew: Crew = ALONE
    ):
        """Group the structures; nothing is computed yet.  `crew` are the devices that share the work."""
        self.kernel, self.found = kernel, found
        self.crew = crew
        self.groups = batches(found, len(kernel.species))
        self._left, self._lock = memory, Lock()
        self._kept: dict[int, Stage] = {}

    def of(self, some: Sequence[int]) -> "StagedSet":
        """The structures at these places alone; all that was kept is given up."""
        self._kept.clear()
        return StagedSet(self.kernel, [self.found[i] for i in some], crew=self.crew)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.groups)

    def members(self, place: int) -> list[int]:
        """Places of a batch's structures in the training set."""
        return self.groups[place][0]

    def batch(self, place: int) -> Batch:
        """A batch, padded."""
        members, slots, places = self.groups[place]
        return collated([self.found[i] for i in members], len(self.kernel.species), slots, places)

    def rows(
        self, place: int, inducing: Environments, batch: Batch, staged: Stage
    ) -> Iterator[tuple[int, Float[np.ndarray, "observables inducing"]]]:
        """Covariances of each structure's [E | F | σ] with `inducing`, and its place in the training set."""
        energy, forces, stress = as_numpy(inducing_rows(self.kernel, batch, inducing, staged))
        first = 0
        for k, i in enumerate(self.members(place)):
            n = len(self.found[i].structure)
            mine = forces[first : first + n].reshape(3 * n, -1)
            yield i, np.concatenate([energy[k : k + 1], mine, stress[k]])
            first += n

    def stage(self, place: int, batch: Batch, last: bool = False) -> Stage:
        """Features and derivatives of the batch at `place`; with `last` they are not needed again."""
        if place in self._kept:
            return self._kept.pop(place) if last else self._kept[place]
        made = stage(self.kernel, batch)
        size = sum(m.nbytes for m in (*made.moves, *made.features))
        with self._lock:  # devices stage batches at the same time
            if not last and size <= self._left:
                self._kept[place] = made
                self._left -= size
        return made
