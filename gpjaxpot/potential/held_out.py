"""The structures that a sparse model is scored on, each left out in turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import stage, vector_rows
from gpjaxpot.gp.left_out import PADDING, Held, LeftOut, own_directions
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.batching import batches, collated
from gpjaxpot.potential.cross import prior
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.training import Observations
from gpjaxpot.structures.batch import Neighbourhood
from gpjaxpot.structures.splits import spread_order

Callback = Callable[[str, int, int], None]
# Structures that are left out in turn: at least so many, if there are as many, and at most so many; between, as many as
# have so many observations (whose covariances with 4000 inducing environments take a gigabyte), and one for so many
# seconds that a fit may take, since the prior variances of one take up to half a second; smaller ones less.  No clock
# and no memory is looked at: resolved settings shall leave out the same.
LEAST, MOST = 64, 256
MOST_ROWS = 30000
SECONDS_EACH, ROWS_EACH = 3.5, 200
# A score takes so many multiplications while ratios of levels are searched, with some of the inducing environments:
# silicon's ratios hardly change with their number, and much with the structures (measured: benchmarks/README.md).  Of
# those there are fewer only where inducing environments would be fewer than so many; and at least so many.
WORK_PER_SCORE = 6e9
LEAST_INDUCING = 300
LEAST_SEARCHED = 12
# What was found so is set right by some of the structures and all inducing environments: at least `LEAST` structures,
# and as many as take so many multiplications.
WORK_PER_CHECK = 2.5e11
# Rows that even the smallest structure is padded to.
LEAST_ROWS = 8
# Bytes of the whitened covariances of the structures that are left out at once.
BYTES_AT_ONCE = 2e8


def left_out_count(rows: float, time: float) -> int:
    """How many structures, of about so many rows, a fit that may take so many seconds leaves out."""
    rows = max(rows, 1.0)
    each = SECONDS_EACH * min(1.0, rows / ROWS_EACH)
    return int(np.clip(min(MOST_ROWS / rows, time / each), LEAST, MOST))


def leaves_out(settings: Settings) -> bool:
    """Whether a sparse fit leaves structures out: not where all is given that it would choose by them."""
    train, noise, model = settings.train, settings.noise, settings.model
    used = {"energy": train.energies, "forces": train.forces, "stress": train.stress}
    learned = any(use and getattr(noise, name) == "auto" for name, use in used.items())
    chosen = model.n_inducing == "auto" or model.refine is not False
    others = settings.calibration.method != "none" or settings.hyper.method != "none"
    return learned or settings.kernel.variance == "auto" or chosen or others


def padded_rows(rows: Int[AnyArray, " structures"]) -> Int[np.ndarray, " structures"]:
    """Rows that structures are padded to: those of the largest, half as many, a quarter, and so on."""
    whole = np.asarray(rows, np.int64)
    size = max(LEAST_ROWS, int(np.max(whole, initial=0)))
    padded = np.full(whole.shape, size)
    while (size := -(-size // 2)) >= LEAST_ROWS:
        padded[whole <= size] = size
    return padded


def searched_size(rows: Int[AnyArray, " structures"], inducing: int) -> tuple[int, int]:
    """How many structures, the first of those that are padded to so many rows, and inducing environments a search of
    ratios takes.
    """  # fmt: skip
    own = np.asarray(rows, float)

    def count(some: int) -> int:
        # Products with the factor of all data, those of a structure's rows with each other, and the factor of these.
        work = np.cumsum(own * some**2 + own**2 * some + own**3)
        return int(np.searchsorted(work, WORK_PER_SCORE, side="right"))

    some, least = inducing, min(inducing, LEAST_INDUCING)
    while some > least and count(some) < len(own):
        some = max(least, int(0.9 * some))
    return min(len(own), max(LEAST_SEARCHED, count(some))), some


def checked_size(rows: Int[AnyArray, " structures"], inducing: int) -> int:
    """How many structures, the first of those that are padded to so many rows, set right what a search has found."""
    work = np.cumsum(2.0 * np.asarray(rows, float) * inducing**2)
    return min(len(work), max(LEAST, int(np.searchsorted(work, WORK_PER_CHECK, side="right"))))


@dataclass(frozen=True)
class Judged:
    """What a model makes of structures left out, their places, and its levels."""

    left: LeftOut
    places: Sequence[int]
    levels: dict[str, float]
    middles: dict[str, float]
    """Of the priors on them."""


def choose(data: Sequence[Observations], time: float) -> Int[np.ndarray, " chosen"]:
    """Places of structures to leave out, the most that may be in a fit of so many seconds.

    They are spread evenly over all, so that no draw may miss a kind; isolated atoms are none.
    """
    able = spread(data)
    rows = float(np.mean([len(data[i]) for i in able])) if len(able) else 1.0
    return able[: left_out_count(rows, time)]


def spread(data: Sequence[Observations]) -> Int[np.ndarray, " able"]:
    """Places of all structures but isolated atoms; every beginning of them is spread evenly over all."""
    able = np.array([i for i, o in enumerate(data) if len(o) > 1 or (len(o) == 1 and not o.known[0])], np.int64)
    return able[spread_order(len(able))]


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
    own: list[Int[AnyArray, "_"]]
    """Places of the inducing environments that are of each structure itself."""

    @property
    def most(self) -> int:
        """Rows of the structure that has most."""
        return max((len(o) for o in self.data), default=0)

    @property
    def inducing(self) -> int:
        """Number of inducing environments."""
        return self.rows[0].shape[1] if self.rows else 1

    def some(self, count: int) -> "Kept":
        """The first `count` of them."""
        return Kept(self.data[:count], self.rows[:count], self.variances[:count], self.own[:count])

    @property
    def padded(self) -> Int[np.ndarray, " structures"]:
        """Rows that each structure is padded to."""
        return padded_rows(np.array([len(o) for o in self.data], np.int64))

    def searched(self) -> tuple["Kept", Int[np.ndarray, " some"]]:
        """The first of them, and some of the inducing environments, with which a search can afford its scores."""
        count, some = searched_size(self.padded, self.inducing)
        return self.some(count), np.arange(some) * self.inducing // some

    def checked(self) -> "Kept":
        """The first of them, with which ratios are set right."""
        return self.some(checked_size(self.padded, self.inducing))

    def in_parts(self, rank: int) -> list[tuple[Int[np.ndarray, "_"], "Kept", int]]:
        """Places of some of them, these, and the rows they are padded to: all, those of about a size together.

        Their rows with `rank` columns take little memory; parts of a size are equal in number but for the last.
        """
        padded, found = self.padded, []
        for rows in np.unique(padded)[::-1]:
            own = np.flatnonzero(padded == rows)
            size = max(1, int(BYTES_AT_ONCE / (8.0 * rows * rank)))
            size = -(-len(own) // -(-len(own) // size))
            for first in range(0, len(own), size):
                places = own[first : first + size]
                lists = ([of[i] for i in places] for of in (self.data, self.rows, self.variances, self.own))
                found.append((places, Kept(*lists), int(rows)))
        return found

    def join(self, parts: Sequence[tuple[Int[AnyArray, "_"], LeftOut]]) -> LeftOut:
        """What was made of parts of them, by their places, as one."""
        shape = len(self.data), max((part.kind.shape[1] for _, part in parts), default=0)
        none = jnp.zeros(shape)
        made = LeftOut(none, none, none, jnp.ones(shape), jnp.full(shape, PADDING, jnp.int32))
        for places, part in parts:
            own = (jnp.asarray(places), slice(0, part.kind.shape[1]))
            made = jax.tree.map(lambda whole, some, own=own: whole.at[own].set(some), made, part)
        return made

    def held(
        self,
        whitening: Float[AnyArray, "some rank"],
        some: Int[AnyArray, " some"] | None = None,
        most: int | None = None,
    ) -> Held:
        """What a score needs, for all inducing environments or for `some` of them, which `whitening` whitens.

        Each structure is padded to `most` rows; None for as many as any of them has.  With `some` spreads are not those
        of a new structure: no score of a search asks for them.
        """
        shape = len(self.data), self.most if most is None else most
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
        own = own_directions(whitening, self.own) if some is None else []
        count = max((len(o) for o in own), default=0)
        padded = np.zeros((shape[0], 2 ** int(np.ceil(np.log2(count))) if count else 0, whitening.shape[1]))
        for k, directions in enumerate(own):
            padded[k, : len(directions)] = directions
        return Held(*(jnp.asarray(a) for a in (rows, targets, spare, log_sigma, kind, padded)))


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
