"""The structures that a sparse model is scored on, each left out in turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import stage, vector_rows
from gpjaxpot.gp.left_out import PADDING, Held, LeftOut
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.batching import batches, collated
from gpjaxpot.potential.cross import prior
from gpjaxpot.potential.training import Observations
from gpjaxpot.structures.batch import Neighbourhood
from gpjaxpot.structures.splits import spread_order

Callback = Callable[[str, int, int], None]
# Structures that are left out in turn, at the most.  While ratios of levels are searched they are fewer, where a score
# would take more than so many multiplications.
COUNT = 64
LEAST_SEARCHED = 12
WORK_PER_SCORE = 6e9


@dataclass(frozen=True)
class Judged:
    """What a model makes of structures left out, their places, and its levels."""

    left: LeftOut
    places: Sequence[int]
    levels: dict[str, float]
    middles: dict[str, float]
    """Of the priors on them."""


def choose(data: Sequence[Observations]) -> Int[np.ndarray, " chosen"]:
    """Places of structures spread evenly over all, so that no draw may miss a kind; isolated atoms are none."""
    able = np.array([i for i, o in enumerate(data) if len(o) > 1 or (len(o) == 1 and not o.known[0])], np.int64)
    return able[spread_order(len(able))][:COUNT]


@dataclass(frozen=True)
class Before:
    """Prior variances of one structure, for unit signal variance, and the vectors of its environments."""

    variances: Float[AnyArray, "_"]
    """Of its observations."""
    forces: Float[AnyArray, "atoms 3 3"]
    vectors: Float[AnyArray, "atoms size"]
    """Of all terms of the kernel, one after the other."""


@dataclass(frozen=True)
class Kept:
    """Observations of some structures, their covariances with all inducing variables, and their prior variances."""

    data: list[Observations]
    rows: list[Float[AnyArray, "_ inducing"]]
    variances: list[Float[AnyArray, "_"]]

    def few(self) -> "Kept":
        """The first of them, as many as a search can afford."""
        work = sum(o.size for o in self.rows) / max(1, len(self.rows)) * self.rows[0].shape[1] if self.rows else 1.0
        return self.some(max(LEAST_SEARCHED, int(WORK_PER_SCORE / max(work, 1.0))))

    def some(self, count: int) -> "Kept":
        """The first `count` of them."""
        return Kept(self.data[:count], self.rows[:count], self.variances[:count])

    def held(
        self, whitening: Float[AnyArray, "some rank"], some: Int[AnyArray, " some"] | None = None
    ) -> Held:
        """What a score needs, for all inducing environments or for `some` of them, which `whitening` whitens."""
        most = max((len(o) for o in self.data), default=0)
        shape = len(self.data), most
        rows = np.zeros((*shape, whitening.shape[1]))
        targets, spare, log_sigma = (np.zeros(shape) for _ in range(3))
        kind = np.full(shape, PADDING, np.int32)
        for k, (o, own, variances) in enumerate(zip(self.data, self.rows, self.variances, strict=True)):
            here = slice(0, len(o))
            rows[k, here] = (own if some is None else own[:, some]) @ whitening / o.sigma[:, None]
            targets[k, here] = o.targets / o.sigma
            spare[k, here] = np.maximum(variances / o.sigma**2 - np.sum(rows[k, here] ** 2, axis=1), 0.0)
            log_sigma[k, here] = np.log(o.sigma)
            kind[k, here] = np.where(o.known, len(OBSERVABLES), o.kind)
        return Held(*(jnp.asarray(a) for a in (rows, targets, spare, log_sigma, kind)))


def priors(
    kernel: EnergyKernel,
    found: Sequence[Neighbourhood],
    data: Sequence[Observations],
    chosen: Int[AnyArray, " chosen"],
    callback: Callback,
) -> dict[int, Before]:
    """What is known of each chosen structure before any label."""
    shapes = {i: (slots, places) for members, slots, places in batches(found, len(kernel.species)) for i in members}
    made = {}
    for k, i in enumerate(chosen):
        batch = collated([found[i]], len(kernel.species), *shapes[i])
        staged, n = stage(kernel, batch), len(found[i].structure)
        before = prior(kernel, batch, staged)
        forces = np.asarray(before.forces)[:n]
        diagonal = np.diagonal(forces, axis1=1, axis2=2).reshape(-1)
        variances = np.concatenate([[before.energy], diagonal, before.stress])[data[i].places]
        made[int(i)] = Before(variances, forces, vector_rows(staged.features, n))
        callback("left out", k + 1, len(chosen))
    return made
