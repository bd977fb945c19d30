"""Fitting a sparse posterior: what levels are learned from, and conditioning uses."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import Environments, made_environments
from gpjaxpot.gp.inducing import select
from gpjaxpot.gp.left_out import Held, LeftOut, error_fall, error_fall_spread, sparse_left_out
from gpjaxpot.gp.levels import Weighted, sparse_evidence
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.gp.sparse import SparsePosterior, whiten
from gpjaxpot.linalg.streamed_qr import StreamedQR
from gpjaxpot.potential.held_out import Before, Judged, Kept
from gpjaxpot.potential.levels import VARIANCE, Levels, LogLevels, learn, logs
from gpjaxpot.potential.settings import Settings, TrainSettings
from gpjaxpot.potential.span import SPAN, span
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.staged_set import StagedSet
from gpjaxpot.potential.streaming import FIXED, stream, under
from gpjaxpot.potential.training import Observations

Callback = Callable[[str, int, int], None]
# Place of the structure of what is no atom's environment.
NOWHERE = -1
# Environments that inducing ones are chosen from, at the most.
CANDIDATES = 20000
# Inducing environments of the small models by which kinds of noise are compared.
JUDGED_WITH = 300


def choose_inducing(
    training: StagedSet,
    count: int,
    selection: str,
    seed: int,
    callback: Callback,
) -> tuple[Environments, Int[np.ndarray, " inducing"]]:
    """Choose inducing environments among those of all structures; isolated atoms are always among them.

    Second, the places of their structures.  With the selection "span" they are no atoms', and as many as there are.
    """
    kernel = training.kernel
    if selection == SPAN:
        spanning = span(kernel)
        return spanning, np.full(len(spanning), NOWHERE)
    vectors: list[list[np.ndarray]] = [[] for _ in kernel.terms]
    species, alone, owners = [], [], []
    total = sum(len(f.structure) for f in training.found)
    keep = min(1.0, CANDIDATES / total)
    rng = np.random.default_rng(seed)
    for k in range(len(training)):
        batch = training.batch(k)
        made = made_environments(kernel, batch)
        real = np.flatnonzero(np.asarray(batch.atom_mask))
        lonely = np.logical_not(np.any(np.asarray(batch.mask), axis=0))[real]
        real_kept = (rng.random(len(real)) < keep) | lonely
        chosen = real[real_kept]
        for column, features in zip(vectors, made.features, strict=True):
            column.append(np.asarray(features).T[chosen])
        species.append(np.asarray(batch.species)[chosen])
        alone.append(lonely[real_kept])
        owners.append(np.array(training.members(k))[np.asarray(batch.owner)[chosen]])
        callback("environments", k + 1, len(training))
    features = [np.concatenate(v) for v in vectors]
    kinds, lonely = np.concatenate(species), np.concatenate(alone)
    stacked = features[0] if len(features) == 1 else np.concatenate(features, axis=1)
    _, first = np.unique(np.column_stack([kinds, ~lonely]), axis=0, return_index=True)
    always = np.array([i for i in first if lonely[i]], dtype=np.int64)
    places_ = select(stacked, kinds, min(count, len(kinds)), selection, seed, always)
    found = Environments(
        tuple(jnp.asarray(f[places_].T) for f in features), jnp.asarray(kinds[places_], jnp.int32)
    )
    return found, np.concatenate(owners)[places_]


@dataclass(frozen=True)
class Assembled:
    """All observations of a training set, folded together: what levels are learned from, and conditioning uses."""

    training: StagedSet
    data: Sequence[Observations]
    inducing: Environments
    owners: Int[np.ndarray, " inducing"]
    """Places of the structures that they are of."""
    factors: dict[str, StreamedQR]
    whitening: np.ndarray
    parts: dict[str, Weighted]
    kept: dict[int, np.ndarray]
    """Covariances of the structures that may be left out, by their places."""

    @classmethod
    def make(
        cls,
        training: StagedSet,
        data: Sequence[Observations],
        inducing: Environments,
        owners: Int[np.ndarray, " inducing"],
        chosen: Int[AnyArray, " chosen"],
        callback: Callback,
        checkpoint: Path | None = None,
    ) -> "Assembled":
        """Stream the rows of all structures, and keep those of the `chosen` ones, to leave out; see `stream`."""
        kept: dict[int, np.ndarray] = {int(i): np.zeros(0) for i in chosen}
        factors = stream(training, data, inducing, callback, checkpoint, kept)
        gram = training.kernel.gram(inducing.features, inducing.features, inducing.species, inducing.species)
        whitening = whiten(np.asarray(gram))
        parts = {
            name: _weighted(factor.factor, whitening, *_counts(data, name), name == FIXED)
            for name, factor in factors.items()
            if len(factor.factor)
        }
        return cls(training, data, inducing, owners, factors, whitening, parts, kept)

    def hold(self, before: dict[int, Before]) -> Kept:
        """Structures to leave out, with what a score needs of them; `before` are their `priors`."""
        return Kept(
            [self.data[i] for i in self.kept],
            list(self.kept.values()),
            [before[i].variances for i in self.kept],
            list(self.own.values()),
        )

    @property
    def own(self) -> dict[int, Int[np.ndarray, "_"]]:
        """Places of the inducing environments that are of each structure that may be left out."""
        return {i: np.flatnonzero(self.owners == i) for i in self.kept}

    def learn(
        self,
        train: TrainSettings,
        start: dict[str, float],
        free: tuple[str, ...],
        kept: Callable[[], Kept],
        callback: Callback,
        middles: dict[str, float] | None = None,
    ) -> Levels:
        """Learn the levels in `free`; `start` has "variance" and the level of each observable.

        `kept` gives the structures to leave out, and is asked only if they are needed.  `middles` are those of the
        priors, where `start` was learned before, with other inducing environments.
        """
        start = {k: v for k, v in start.items() if k == VARIANCE or k in self.parts}
        free = tuple(name for name in free if name in start)

        def leave_out(all_of_them: bool):
            if all_of_them:
                return lambda x: _left_out(x, self.parts, kept(), _held(kept(), self.whitening))
            chosen, some = kept().searched()
            whitening, parts = self._fewer(some)
            held = list(_held(chosen, whitening, some))
            return lambda x: _left_out(x, parts, chosen, held)

        def whole():
            chosen = kept().checked()
            held = list(_held(chosen, self.whitening))
            return lambda x: _left_out(x, self.parts, chosen, held)

        evidence = partial(sparse_evidence, parts=self.parts)
        return learn(train, evidence, leave_out, whole, list(self.kept), start, free, callback, middles)

    def left_out(self, levels: dict[str, float], kept: Kept) -> LeftOut:
        """What is made of all structures in `kept`, at these levels."""
        return _left_out(logs(levels), self.parts, kept, _held(kept, self.whitening))

    def gain(self, levels: Levels, kept: Kept) -> tuple[float, float]:
        """By what share structures left out have smaller errors than with every other inducing environment alone.

        As a logarithm, with its standard error over the structures.
        """
        half = np.arange(0, len(self.inducing), 2)
        whitening, parts = self._fewer(half)
        old = _left_out(logs(levels.values), parts, kept, _held(kept, whitening, half))
        new = self.left_out(levels.values, kept) if levels.left is None else levels.left
        kinds = len(OBSERVABLES)
        return error_fall(new, old, kinds), error_fall_spread(new, old, kinds)

    def _fewer(self, some: Int[AnyArray, " some"]) -> tuple[np.ndarray, dict[str, Weighted]]:
        """Whitening and normal equations with some of the inducing environments alone."""
        if len(some) == len(self.inducing):
            return self.whitening, self.parts
        fewer = self.inducing.take(jnp.asarray(some))
        whitening, columns = whiten(np.asarray(self._gram(fewer, fewer))), [*some, len(self.inducing)]
        parts = {
            name: _weighted(self.factors[name].factor[:, columns], whitening, *_counts(self.data, name), name == FIXED)
            for name in self.parts
        }
        return whitening, parts

    def _gram(self, a: Environments, b: Environments):
        return self.training.kernel.gram(a.features, b.features, a.species, b.species)

    def condition(self, levels: dict[str, float]) -> SparseModel:
        """Condition with the kernel times the variance in `levels`, and with their noise."""
        rows, count, log_noise = self._rows(levels)
        whitening = self.whitening / np.sqrt(levels[VARIANCE])
        return SparseModel(self.inducing, SparsePosterior.from_rows(whitening, rows, count, log_noise))

    def white(self, levels: dict[str, float]) -> SparsePosterior:
        """The same posterior in whitened variables, of which the prior is the unit normal."""
        rows, count, log_noise = self._rows(levels)
        rows = np.concatenate([rows[:, :-1] @ (self.whitening / np.sqrt(levels[VARIANCE])), rows[:, -1:]], 1)
        return SparsePosterior.from_rows(np.eye(self.whitening.shape[1]), rows, count, log_noise)

    def _rows(self, levels: dict[str, float]) -> tuple[np.ndarray, int, float]:
        """Noise-weighted rows of all observations, their number, and the sum of log σ²."""
        rows, log_noise, count = [], 0.0, 0
        for name in self.parts:
            level = 1.0 if name == FIXED else levels[name]
            # Of the kernel times v: cov(f, u) grows by v and the whitening falls by √v.
            scaled = self.factors[name].factor / level
            rows.append(np.concatenate([scaled[:, :-1] * levels[VARIANCE], scaled[:, -1:]], 1))
            n, own = _counts(self.data, name)
            count += n
            log_noise += own + 2.0 * n * np.log(level)
        return np.concatenate(rows), count, log_noise


def judge_sparse(
    training: StagedSet,
    data: Sequence[Observations],
    settings: Settings,
    start: dict[str, float],
    free: tuple[str, ...],
    before: Judged | None,
    chosen: Int[AnyArray, " chosen"],
    priors: Callable[[], dict[int, Before]],
    callback: Callback,
    what: str = "noise",
) -> Judged:
    """Learn the levels in `free`, from those of the model `before`, with few inducing environments; leave the `chosen`
    structures out.  `what` this is done for is told with each stage.
    """  # fmt: skip
    asked = settings.model.n_inducing
    count = JUDGED_WITH if asked == "auto" else min(JUDGED_WITH, int(asked))

    def report(stage: str, done: int, total: int) -> None:
        callback(f"{what}: {stage}", done, total)

    inducing, owners = choose_inducing(training, count, settings.model.selection, settings.train.seed, report)
    assembled = Assembled.make(training, data, inducing, owners, chosen, report)
    kept = cache(lambda: assembled.hold(priors()))
    start, middles = (start, None) if before is None else (start | before.levels, before.middles)
    levels = assembled.learn(settings.train, start, free, kept, report, middles)
    left = assembled.left_out(levels.values, kept()) if levels.left is None else levels.left
    return Judged(left, list(assembled.kept), levels.values, levels.middles)


def _held(
    kept: Kept, whitening: np.ndarray, some: Int[AnyArray, " some"] | None = None
) -> Iterator[tuple[Int[AnyArray, "_"], Held]]:
    """What leaving out takes, for a part of the structures after the other: not all need be there at once."""
    for places, part, most in kept.in_parts(whitening.shape[1]):
        yield places, part.held(whitening, some, most)


def _left_out(
    log_levels: LogLevels,
    parts: dict[str, Weighted],
    kept: Kept,
    held: Iterable[tuple[Int[AnyArray, "_"], Held]],
) -> LeftOut:
    """All structures in `kept`, of which `held` is made, left out in turn."""
    return kept.join([(places, sparse_left_out(log_levels, parts, own, OBSERVABLES)) for places, own in held])


def _counts(data: Sequence[Observations], name: str) -> tuple[int, float]:
    """Number of observations under a level, and the sum of the logarithms of their variances."""
    count, log_noise = 0, 0.0
    for o in data:
        used = under(o, name)
        count += int(np.sum(used))
        log_noise += 2.0 * float(np.sum(np.log(o.sigma[used])))
    return count, log_noise


def _weighted(
    factor: np.ndarray, whitening: np.ndarray, count: int, log_noise: float, fixed: bool
) -> Weighted:
    white, y = factor[:, :-1] @ whitening, factor[:, -1]
    return Weighted(
        jnp.asarray(white.T @ white),
        jnp.asarray(white.T @ y),
        jnp.asarray(y @ y),
        jnp.asarray(log_noise),
        count,
        fixed,
    )
