"""Covariances of all observations with inducing environments: made for a batch, folded into a factor, forgotten.

The factor of all data is that of the factors of their parts, one below the other: no device that makes one tells
another anything until all are done.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import Environments
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.linalg.streamed_qr import StreamedQR
from gpjaxpot.potential.crew import Crew
from gpjaxpot.potential.staged_set import StagedSet
from gpjaxpot.potential.training import Observations
from gpjaxpot.structures.files import atomic_write

Callback = Callable[[str, int, int], None]
Factors = dict[str, StreamedQR]
SECONDS_BETWEEN_CHECKPOINTS = 60.0
FIXED = "fixed"
# Parts that the data are folded in, each by one device; of more devices each has one.
STRANDS = 8


def stream(
    training: StagedSet,
    data: Sequence[Observations],
    inducing: Environments,
    callback: Callback,
    checkpoint: Path | None = None,
    keep: dict[int, np.ndarray] | None = None,
) -> Factors:
    """Fold the rows of all observations into one triangular factor for each noise level.

    Rows [k_fu | y] are divided by what is known of their σ.  With `checkpoint`, the factors are stored now and
    then, and an interrupted run with the same data and settings goes on from there.  Rows k_fu of the structures
    whose places are among the keys of `keep` are put there.

    Raises:
        InputError: where processes that fit together are about to do different things.
    """
    crew = training.crew
    mark = _fingerprint(training, data, inducing)
    crew.check_same(mark)
    checkpoint = crew.own_file(checkpoint)
    kept: dict[int, np.ndarray] = {} if keep is None else keep
    made = _Strands(crew, len(training), len(inducing) + 1)
    start = _resume(checkpoint, mark, made, kept)
    saved = time.monotonic()
    for turn in range(start, made.turns):

        def work(lane: int, turn: int = turn) -> None:
            if turn >= len(made.work[lane]):
                return
            strand, k = made.work[lane][turn]
            batch = training.batch(k)
            for i, rows in training.rows(k, inducing, batch, training.stage(k, batch)):
                made.fold(strand, rows, data[i])
                if i in kept:
                    kept[i] = rows[data[i].places]

        crew.each(work)
        made.join(turn)
        callback("covariances", min((turn + 1) * crew.size, len(training)), len(training))
        if checkpoint is not None and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            _store(checkpoint, mark, turn + 1, made, kept)
            saved = time.monotonic()
    if checkpoint is not None:
        # Before strands are joined: of several processes one may be stopped before it has stored that they were.
        _store(checkpoint, mark, made.turns, made, kept)
    made.end()
    kept |= crew.known_to_all(kept, [len(data[i]) for i in kept], len(inducing))
    return made.whole


class _Strands:
    """Factors of parts of the data, of which each device has some, and what they are joined to.

    Batches are dealt to strands in the same way for any number of devices, and strands are joined in their order: so
    that the numbers are the same, bit for bit.  A device does one strand after the other, so that rows wait to be
    folded for one of them only.
    """

    def __init__(self, crew: Crew, batches: int, columns: int):
        self.crew, self.columns = crew, columns
        self.count = max(STRANDS, crew.size)
        strands = crew.shares(self.count)
        self.work = [[(s, k) for s in own for k in range(s, batches, self.count)] for own in strands]
        """Of each device of this process: strand and batch of each turn."""
        self.turns = max(len(own) for own in self.work)
        self.whole = self._empty()
        self.factors: dict[int, Factors] = {s: self._empty() for own in strands for s in own}
        """Of the strands that are this process's and not yet joined."""

    def _empty(self) -> Factors:
        return {name: StreamedQR(self.columns) for name in (*OBSERVABLES, FIXED)}

    def fold(self, strand: int, rows: np.ndarray, data: Observations) -> None:
        """Fold in the rows of one structure."""
        if not len(data):
            return
        chosen = np.concatenate([rows[data.places], data.targets[:, None]], 1) / data.sigma[:, None]
        for name, factor in self.factors[strand].items():
            factor.add(chosen[under(data, name)])

    def join(self, turn: int) -> None:
        """End the strands of which this was the last turn; one device alone joins them at once, and forgets them."""
        for own in self.work:
            if turn >= len(own) or (turn + 1 < len(own) and own[turn + 1][0] == own[turn][0]):
                continue
            ended = self.factors[own[turn][0]]
            for factor in ended.values():
                factor.fold()
            if self.crew.size == 1:
                self._join(self.factors.pop(own[turn][0]))

    def end(self) -> None:
        """Join what is not joined, of all processes."""
        for strand in range(self.count) if self.crew.size > 1 else self.factors:
            mine = self.factors.get(strand) or self._empty()
            joined = {name: StreamedQR(self.columns) for name in mine}
            for name, factor in mine.items():
                for rows in self.crew.gathered(factor.fold(), self.columns):
                    joined[name].add(rows)
            self._join(joined)
        self.factors = {}
        for factor in self.whole.values():
            factor.fold()

    def _join(self, factors: Factors) -> None:
        for name, factor in factors.items():
            self.whole[name].add(factor.fold())


def under(data: Observations, name: str) -> Bool[AnyArray, " data"]:
    """Which observations are under a level; those whose σ is known are `FIXED`."""
    return data.known if name == FIXED else ~data.known & (data.kind == OBSERVABLES.index(name))


def _fingerprint(training: StagedSet, data: Sequence[Observations], inducing: Environments) -> str:
    """A mark of all that the factors follow from; devices are part of it, but not which of them are this process's."""
    from gpjaxpot.potential.kernel_spec import to_spec

    spec = [_try_spec(to_spec, training.kernel), training.crew.size, training.crew.processes]
    digest = hashlib.sha256(json.dumps(spec).encode())
    for item, o in zip(training.found, data, strict=True):
        for array in (item.structure.positions, item.structure.cell, o.targets, o.sigma, o.places):
            digest.update(np.ascontiguousarray(array).tobytes())
    for features in inducing.features:
        digest.update(np.round(np.asarray(features), 8).tobytes())
    return digest.hexdigest()


def _try_spec(to_spec: Callable[[EnergyKernel], dict[str, Any]], kernel: EnergyKernel) -> Any:
    from gpjaxpot.errors import InputError

    try:
        return to_spec(kernel)
    except InputError:
        return repr(kernel)  # a function of the user's own


def _resume(checkpoint: Path | None, mark: str, made: _Strands, keep: dict[int, np.ndarray]) -> int:
    """Take up what is stored under this mark; the number of turns that were done."""
    if checkpoint is None or not checkpoint.exists():
        return 0
    try:
        with np.load(checkpoint, allow_pickle=False) as stored:
            if str(stored["mark"]) != mark:
                return 0
            parts = {int(s): _read(stored, f"{s} ", made.whole) for s in stored["strands"]}
            whole = _read(stored, "", made.whole)
            kept = {i: stored[f"kept {i}"] for i in keep}
            done = int(stored["done"])
    except (OSError, ValueError, KeyError, EOFError):
        return 0  # damaged: start again
    made.whole, made.factors = whole, parts
    keep.update(kept)
    return done


def _read(stored: Any, before: str, like: Factors) -> Factors:
    made = {name: StreamedQR(factor.columns, stored[f"{before}{name}"]) for name, factor in like.items()}
    for name, factor in made.items():
        factor.add(stored[f"{before}{name} waiting"])
    return made


def _store(checkpoint: Path, mark: str, done: int, made: _Strands, keep: dict[int, np.ndarray]) -> None:
    # What waits is not folded in for it: the clock would decide how sums are rounded.
    arrays: dict[str, Any] = {}
    for before, factors in [("", made.whole), *((f"{s} ", part) for s, part in made.factors.items())]:
        for name, factor in factors.items():
            arrays |= {f"{before}{name}": factor.factor, f"{before}{name} waiting": factor.waiting}
    arrays |= {f"kept {i}": rows for i, rows in keep.items()}
    with atomic_write(checkpoint, "wb") as handle:
        strands = np.array(list(made.factors), np.int64)
        np.savez(handle, mark=np.array(mark), done=np.array(done), strands=strands, **arrays)
