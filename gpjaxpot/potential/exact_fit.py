"""Fitting an exact posterior: the dense covariance of all observations, and its factor."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.left_out import exact_left_out
from gpjaxpot.gp.levels import exact_evidence
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.exact_model import ExactModel, block, linear, one_by_one, padded_places
from gpjaxpot.potential.held_out import Judged
from gpjaxpot.potential.levels import VARIANCE, Levels, LogLevels, learn, logs
from gpjaxpot.potential.settings import TrainSettings
from gpjaxpot.potential.training import Observations, learnable
from gpjaxpot.structures.structure import Structure

Callback = Callable[[str, int, int], None]
# Observations that the noise levels are learned on, at the most.
LEARNED_ON = 1500


def dense_covariance(
    kernel: EnergyKernel,
    structures: Sequence[Structure],
    data: Sequence[Observations],
    callback: Callback,
) -> np.ndarray:
    """Prior covariance (n, n) of all observations."""
    batches = one_by_one(kernel, tuple(structures))
    lines = [linear(kernel, b) for b in batches]
    places = [
        padded_places(o.places, len(s), b.n_atoms)
        for o, s, b in zip(data, structures, batches, strict=True)
    ]
    edges = np.concatenate([[0], np.cumsum([len(o) for o in data])])
    out = np.empty((edges[-1], edges[-1]))
    for i, a in enumerate(lines):
        rows = slice(edges[i], edges[i + 1])
        for j in range(i + 1):
            columns = slice(edges[j], edges[j + 1])
            out[rows, columns] = np.asarray(block(kernel, a, lines[j]))[np.ix_(places[i], places[j])]
            out[columns, rows] = out[rows, columns].T
        callback("covariances", i + 1, len(lines))
    return out


def condition(
    covariance: np.ndarray,
    structures: Sequence[Structure],
    data: Sequence[Observations],
    train: TrainSettings,
    start: dict[str, float],
    free: tuple[str, ...],
    callback: Callback,
) -> tuple[ExactModel, Levels]:
    """Learn the levels in `free`, on whole structures up to `LEARNED_ON` observations, and condition."""
    levels = learn_levels(covariance, data, train, start, free, callback)
    posterior = posterior_at(covariance, data, levels.values)
    return ExactModel(tuple(structures), tuple(o.places for o in data), posterior), levels


def judge_exact(
    covariance: np.ndarray,
    data: Sequence[Observations],
    train: TrainSettings,
    start: dict[str, float],
    free: tuple[str, ...],
    before: Judged | None,
    callback: Callback,
) -> Judged:
    """Learn the levels in `free`, from those of the model `before`, and leave out structures."""
    start, middles = (start, None) if before is None else (start | before.levels, before.middles)
    levels = learn_levels(covariance, data, train, start, free, callback, middles)
    used = _some(data)
    arguments, places = _arguments_of(covariance, data, used)
    left = exact_left_out(logs(levels.values), *arguments, places, OBSERVABLES)
    return Judged(left, used, levels.values, levels.middles)


def learn_levels(
    covariance: np.ndarray,
    data: Sequence[Observations],
    train: TrainSettings,
    start: dict[str, float],
    free: tuple[str, ...],
    callback: Callback,
    middles: dict[str, float] | None = None,
) -> Levels:
    """Learn the levels in `free`, on whole structures up to `LEARNED_ON` observations; for `middles` see `learn`."""
    present = {VARIANCE, *learnable(data)}
    start = {k: v for k, v in start.items() if k in present}
    free = tuple(name for name in free if name in start)
    used = _some(data)
    (matrix, sigma, kinds, targets), places = _arguments_of(covariance, data, used)

    def left_out(log_levels: LogLevels):
        return exact_left_out(log_levels, matrix, sigma, kinds, targets, places, OBSERVABLES)

    levels = learn(
        train,
        lambda x: exact_evidence(x, matrix, sigma, kinds, targets, OBSERVABLES),
        lambda _: left_out,
        lambda: left_out,
        used,
        start,
        free,
        callback,
        middles,
    )
    told, labelled = len(used), sum(len(o) > 0 for o in data)
    if not free or told == labelled:
        return levels
    some = f"of {told} of {labelled} structures: {LEARNED_ON} labels at the most"
    return replace(levels, reason=f"{levels.reason}, {some}")


def _arguments_of(
    covariance: np.ndarray, data: Sequence[Observations], used: Sequence[int]
) -> tuple[tuple[Array, Array, Array, Array], Array]:
    """`evidence_arguments` of some structures, and which of these observations are each one's."""
    edges = np.concatenate([[0], np.cumsum([len(o) for o in data])])
    members = [np.arange(edges[i], edges[i + 1]) for i in used]
    return evidence_arguments(covariance, data, np.concatenate(members)), jnp.asarray(_padded(members))


def evidence_arguments(
    covariance: np.ndarray, data: Sequence[Observations], some: np.ndarray | None = None
) -> tuple[Array, Array, Array, Array]:
    """What `exact_evidence` takes between levels and names, of all observations or of `some`."""
    targets, sigma, _, kind = _joined(data)
    if some is not None:
        covariance, targets, sigma, kind = covariance[np.ix_(some, some)], targets[some], sigma[some], kind[some]
    return jnp.asarray(covariance), jnp.asarray(sigma), jnp.asarray(kind, jnp.int32), jnp.asarray(targets)


def posterior_at(
    covariance: np.ndarray, data: Sequence[Observations], levels: dict[str, float]
) -> ExactPosterior:
    """Condition with the kernel times the variance in `levels`, and with their noise."""
    targets, sigma, _, kind = _joined(data)
    factor = np.array([*(levels.get(name, 1.0) for name in OBSERVABLES), 1.0])[kind]
    return ExactPosterior.condition(
        jnp.asarray(levels[VARIANCE] * covariance), jnp.asarray((sigma * factor) ** 2), jnp.asarray(targets)
    )


def _joined(data: Sequence[Observations]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Targets, σ, whether it is known, and which level multiplies it, of all observations."""
    known = np.concatenate([o.known for o in data])
    kind = np.where(known, len(OBSERVABLES), np.concatenate([o.kind for o in data]))
    return np.concatenate([o.targets for o in data]), np.concatenate([o.sigma for o in data]), known, kind


def _some(data: Sequence[Observations]) -> list[int]:
    """Places of evenly spread structures with about `LEARNED_ON` observations at the most."""
    step = max(1, int(np.ceil(sum(len(o) for o in data) / LEARNED_ON)))
    return [i for i in range(0, len(data), step) if len(data[i])]


def _padded(members: list[np.ndarray]) -> np.ndarray:
    """Places of each structure's observations among all of them, padded with their number."""
    total, start = sum(len(m) for m in members), 0
    out = np.full((len(members), max(len(m) for m in members)), total)
    for row, m in zip(out, members, strict=True):
        row[: len(m)] = start + np.arange(len(m))
        start += len(m)
    return out
