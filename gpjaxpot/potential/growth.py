"""The number of inducing environments: as many as still make predictions better."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.potential.budget import Estimate
from gpjaxpot.potential.held_out import Before, Kept
from gpjaxpot.potential.levels import Levels
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.span import SPAN
from gpjaxpot.potential.sparse_fit import Assembled, choose_inducing
from gpjaxpot.potential.staged_set import StagedSet
from gpjaxpot.potential.training import Observations

Callback = Callable[[str, int, int], None]
# Twice as many inducing environments must lower the errors of structures left out by this share.
LEAST_GAIN = 0.02
SPANNED = "they determine all functions of the kernel: the posterior is the exact one"


@dataclass(frozen=True)
class Grown:
    """All observations folded together for the number of inducing environments that was found, and their levels."""

    assembled: Assembled
    levels: Levels
    reason: str
    """Why there are no more of them; "" for a number that was given."""
    kept: Callable[[], Kept]
    """Makes what structures are left out with."""


def grow(
    training: StagedSet,
    data: Sequence[Observations],
    estimate: Estimate,
    settings: Settings,
    start: dict[str, float],
    free: tuple[str, ...],
    chosen: Int[AnyArray, " chosen"],
    priors: Callable[[], dict[int, Before]],
    callback: Callback,
    checkpoint: Path | None = None,
) -> Grown:
    """Assemble with twice the inducing environments, again and again, until that gains too little.

    The gain of the last doubling is that over every other of its environments; a standard error is granted to it, so
    that chance seldom ends the growth.  Stops at what `estimate` allows, or at once where the number is given or
    follows from the kernel.  The `chosen` structures are left out, and `priors` gives theirs.
    """
    asked = settings.model.n_inducing
    count, most = int(estimate.n_inducing or 0), estimate.most_inducing or 0
    seed, middles = settings.train.seed, None
    while True:
        inducing, owners = choose_inducing(training, count, settings.model.selection, seed, callback)
        stored = None if checkpoint is None else checkpoint_of(checkpoint, count)
        assembled = Assembled.make(training, data, inducing, owners, chosen, callback, stored)
        kept = cache(lambda made=assembled: made.hold(priors()))
        levels = assembled.learn(settings.train, start, free, kept, callback, middles)
        if settings.model.selection == SPAN:
            return Grown(assembled, levels, SPANNED, kept)
        if asked != "auto":
            fewer = len(inducing) < int(asked)
            return Grown(assembled, levels, f"{asked} asked for, but no more are distinct" * fewer, kept)
        if len(inducing) < count:
            return Grown(assembled, levels, "all distinct environments", kept)
        if most < 1.5 * count:
            return Grown(assembled, levels, "as many as time, memory and data allow", kept)
        gain, spread = assembled.gain(levels, kept())
        if not training.crew.agreed(bool(gain + spread > LEAST_GAIN)):
            why = f"with half as many, errors left out grow by {100 * np.expm1(gain):.1f} ± {100 * spread:.1f} % only"
            return Grown(assembled, levels, why, kept)
        count = min(most, 2 * count)
        start, middles = start | levels.values, levels.middles


def checkpoint_of(checkpoint: Path, count: int) -> Path:
    """Where a fit with `count` inducing environments keeps what it has done."""
    return checkpoint.with_name(f"{checkpoint.name}.{count}")


def checkpoints(checkpoint: Path) -> list[Path]:
    """All that a fit has kept, for whatever number of inducing environments, and of whichever process."""
    prefix = f"{checkpoint.name}."
    return [
        path
        for path in sorted(checkpoint.parent.iterdir())
        if path.name.startswith(prefix) and re.fullmatch(r"\d+(-\d+)?", path.name.removeprefix(prefix))
    ]
