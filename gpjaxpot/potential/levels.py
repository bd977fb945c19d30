"""Signal variance and noise levels of a fit: given, or learned."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gpjaxpot.gp.left_out import WEIGHTS, LeftOut, accuracy, calibrate, misfits, predicted_variance
from gpjaxpot.gp.maximise import Range, maximise
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.potential.settings import TrainSettings
from gpjaxpot.uncertainty.scores import crps

Callback = Callable[[str, int, int], None]
LogLevels = dict[str, Float[Array, ""]]
VARIANCE = "variance"
# A learned level stays within this factor of its start; the width of the prior on its logarithm.
BOUND = 1100.0
PRIOR = 4.0
# An energy error per √atom starts as a force error times this length (Å).
ENERGY_LENGTH = 0.03
# Evaluations, and the gain of a step at which a search ends: of evidence, and of the sum of the errors' logarithms.
STEPS = 40
WARM_STEPS = 8
EVIDENCE_GAIN = 0.05
ACCURACY_GAIN = 1e-3
# Ratios that were found by errors alone, and often with some of the inducing environments, are then set right by the
# whole model: noises are halved or doubled, together and each alone, so many times at the most, while the logarithms of
# the errors and of their CRPS, half of each, fall by this much.
STEP = 2.0
MOST_STEPS = 6
LEAST_FALL = 0.005
# With fewer structures to leave out, the evidence decides, and energies follow forces.
LEAST_STRUCTURES = 5
BEST = "predicts structures left out best"


@dataclass(frozen=True)
class Levels:
    """Levels to condition with ("variance" and one for each observable), and those that predictions report."""

    values: dict[str, float]
    reported: dict[str, float]
    reason: str
    spread: dict[str, float] = field(default_factory=dict)
    """Of energies and stresses, how many times as wide the process's spread of them is to be as that of forces."""
    misfits: dict[int, float] = field(default_factory=dict)
    """Of each structure left out, by its place, how many σ its labels are from what the others predict."""
    middles: dict[str, float] = field(default_factory=dict)
    """Of the priors on levels that were learned by structures left out; empty where none were."""
    left: LeftOut | None = None
    """What is made of the structures left out, where all of them were; its variances are those before `calibrated`."""


def learn(
    train: TrainSettings,
    evidence: Callable[[LogLevels], Array],
    leave_out: Callable[[bool], Callable[[LogLevels], LeftOut]],
    whole: Callable[[], Callable[[LogLevels], LeftOut]],
    places: Sequence[int],
    start: dict[str, float],
    free: tuple[str, ...],
    callback: Callback,
    middles: dict[str, float] | None = None,
) -> Levels:
    """Learn the levels in `free`, from where `start` has them.

    By "evidence": those of its maximum.  By "left_out": first the ratios of the levels by which structures are
    predicted best that are left out in turn, then set right so that spreads are good, too (`quality`); then, where
    all are free, one scale for them all, which moves no prediction, and the noise that predictions report, by the
    density of the labels left out.

    Args:
        train: by what they are learned, and from how many places.
        evidence: log evidence at the logarithms of all levels.
        leave_out: makes the function that leaves structures out, all of them (True) or few enough for a search;
            called only where it is needed.
        whole: makes what leaves structures out of the whole model, where a search may have but a part of it.
        places: of the structures that are left out, in their order.
        start: all levels.
        free: which of them are learned.
        callback: progress.
        middles: of the priors, where `start` was learned before in a model much like this one; None otherwise.
    """
    if not free:
        return Levels(start, noise_of(start), "given")

    def report(done: int, total: int) -> None:
        callback("levels", done, total)

    again = partial(maximise, callback=report, restarts=train.restarts, seed=train.seed)
    if train.objective == "evidence":
        found = start | _search(again, lambda x: evidence(logs(start) | x), start, free, EVIDENCE_GAIN, STEPS)
        return Levels(found, noise_of(found), "highest evidence")
    found, by_evidence = start, free
    if middles is None:
        tied = "energy" in free and "forces" in start
        if tied:
            # Evidence gives energies up for forces, which outnumber them: theirs follows the forces' to begin with.
            start = start | {"energy": ENERGY_LENGTH * start["forces"]}
            by_evidence = tuple(n for n in free if n != "energy")
        found = start | _search(again, lambda x: evidence(logs(start) | x), start, by_evidence, EVIDENCE_GAIN, STEPS)
        if len(places) < LEAST_STRUCTURES:
            found = found | ({"energy": ENERGY_LENGTH * found["forces"]} if tied else {})
            why = f"highest evidence: {len(places)} structures are too few to leave out"
            return Levels(found, noise_of(found), why)
    everything = set(free) == set(start)
    # Predictions depend on ratios alone: one level may stay.
    ratios = tuple(n for n in free if not (everything and n == VARIANCE))
    kinds = len(OBSERVABLES)
    if ratios:
        few, base = leave_out(False), found
        # What was learned in a model much like this one is begun from, and from nowhere else.
        search, steps = (again, STEPS) if middles is None else (partial(maximise, callback=report), WARM_STEPS)
        # Priors stay where they were: in the course of many searches a level that hardly matters would wander off.
        middles = dict(base) if not middles else _on_scale(middles, base)
        found = base | _search(
            search, lambda x: accuracy(few(logs(base) | x), kinds), base, ratios, ACCURACY_GAIN, steps, middles
        )
        left_of_whole = whole()
        found = _set_right(found, ratios, lambda x: quality(left_of_whole(logs(x))))
    if not everything:
        return Levels(found, noise_of(found), BEST, middles=middles or {})
    left = leave_out(True)(logs(found))
    return replace(calibrated(found, left, places), middles=middles or {}, left=left)


def calibrated(values: dict[str, float], left: LeftOut, places: Sequence[int]) -> Levels:
    """Levels in the ratios of `values`, on the scales and with the reported noise that the structures left out show.

    The first scale is the process's, that of forces where there are any; how far those of the others are from it is
    told apart.

    `places` are those of the structures, in their order.
    """
    left = left.as_new
    scales, reported = calibrate(left)
    scale = next(iter(scales.values()), 1.0)
    spread = {OBSERVABLES[k]: v / scale for k, v in scales.items()}
    scaled = {n: v * (scale**2 if n == VARIANCE else scale) for n, v in values.items()}
    noise = noise_of(scaled) | {OBSERVABLES[k]: v for k, v in reported.items()}
    far = misfits(left, scales, reported)
    return Levels(scaled, noise, BEST, spread, {int(i): float(z) for i, z in zip(places, far, strict=True)})


def quality(left: LeftOut) -> float:
    """Mean of `accuracy` and `by_crps`: where spreads are too wide whatever is done, they shall not hide errors."""
    return 0.5 * (float(accuracy(left, len(OBSERVABLES))) + by_crps(left))


def by_crps(left: LeftOut) -> float:
    """Minus the logarithms of the mean CRPS of the kinds of labels, weighted as their errors are in `accuracy`.

    Spreads are those that `calibrate` makes.  Where they fit it follows the errors; levels at which errors are small
    but spreads of one kind far from them, such as an energy noise so large that energies say nothing, lose by it.
    """
    kind, unit, error = (np.asarray(x) for x in (left.kind, left.unit, left.error))
    if not (np.all(np.isfinite(error)) and np.all(np.isfinite(left.epistemic))):
        return -np.inf  # noise too small for the equations to be solved
    scales, reported = calibrate(left)
    std, total = np.sqrt(predicted_variance(left, scales, reported)), 0.0
    for k in reported:
        own = kind == k
        size = crps(error[own] / unit[own], std[own] / unit[own], np.zeros(np.sum(own)))
        total -= WEIGHTS[k] * np.log(max(size, 1e-30))
    return total


def _on_scale(middles: dict[str, float], levels: dict[str, float]) -> dict[str, float]:
    """The middles in their ratios, on the scale of the variance of `levels`."""
    scale = (levels[VARIANCE] / middles[VARIANCE]) ** 0.5
    return {n: levels[VARIANCE] if n == VARIANCE else m * scale for n, m in middles.items()}


def noise_of(levels: dict[str, float]) -> dict[str, float]:
    """The levels of the observables alone."""
    return {n: v for n, v in levels.items() if n != VARIANCE}


def logs(levels: dict[str, float]) -> LogLevels:
    """Logarithms of levels, as the objectives take them."""
    return {n: jnp.log(jnp.asarray(v, float)) for n, v in levels.items()}


def _set_right(
    levels: dict[str, float], names: tuple[str, ...], score: Callable[[dict[str, float]], float]
) -> dict[str, float]:
    """Levels in `names` times powers of `STEP`, noises together and then each, by which `score` is larger."""
    noises = tuple(n for n in names if n != VARIANCE)
    # Forces follow from all together and the others.
    groups = [noises, *((n,) for n in names if n != "forces")]
    best = score(levels)
    for group in dict.fromkeys(g for g in groups if g):
        for factor in (1.0 / STEP, STEP):
            steps = 0
            while steps < MOST_STEPS:
                tried = levels | {n: levels[n] * factor for n in group}
                value = score(tried)
                if not value > best + LEAST_FALL:
                    break
                levels, best, steps = tried, value, steps + 1
            if steps:
                break
    return levels


def _search(
    search: Callable[..., tuple[dict[str, float], float]],
    objective: Callable[[LogLevels], Array],
    levels: dict[str, float],
    free: tuple[str, ...],
    tolerance: float,
    steps: int,
    middles: dict[str, float] | None = None,
) -> dict[str, float]:
    middles = levels if middles is None else middles
    ranges = {n: Range(levels[n], levels[n] / BOUND, levels[n] * BOUND, PRIOR, middles[n]) for n in free}
    return search(objective, ranges, steps, tolerance)[0]
