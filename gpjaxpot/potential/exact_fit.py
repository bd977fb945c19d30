"""Fitting an exact posterior: the dense covariance of all observations, and its factor."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.left_out import exact_left_out
from gpjaxpot.gp.levels import exact_evidence
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.exact_model import ExactModel, block, linear, one_by_one, padded_places
from gpjaxpot.potential.levels import VARIANCE, Levels, learn
from gpjaxpot.potential.training import Observations
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
    objective: str,
    start: dict[str, float],
    free: tuple[str, ...],
    callback: Callback,
) -> tuple[ExactModel, Levels]:
    """Learn the levels in `free`, on whole structures up to `LEARNED_ON` observations, and condition."""
    targets = np.concatenate([o.targets for o in data])
    sigma = np.concatenate([o.sigma for o in data])
    known = np.concatenate([o.known for o in data])
    kind = np.where(known, len(OBSERVABLES), np.concatenate([o.kind for o in data]))
    present = {OBSERVABLES[k] for k in np.unique(kind[~known])}
    start = {k: v for k, v in start.items() if k == VARIANCE or k in present}
    free = tuple(name for name in free if name in start)
    used = _some(data)
    edges = np.concatenate([[0], np.cumsum([len(o) for o in data])])
    members = [np.arange(edges[i], edges[i + 1]) for i in used]
    some = np.concatenate(members)
    arguments = (
        jnp.asarray(covariance[np.ix_(some, some)]), jnp.asarray(sigma[some]),
        jnp.asarray(kind[some], jnp.int32), jnp.asarray(targets[some]),
    )  # fmt: skip
    places = jnp.asarray(_padded(members))
    levels = learn(
        objective,
        lambda x: exact_evidence(x, *arguments, OBSERVABLES),
        lambda _: lambda x: exact_left_out(x, *arguments, places, OBSERVABLES),
        used,
        start,
        free,
        callback,
    )
    factor = np.array([*(levels.values.get(name, 1.0) for name in OBSERVABLES), 1.0])[kind]
    posterior = ExactPosterior.condition(
        jnp.asarray(levels.values[VARIANCE] * covariance),
        jnp.asarray((sigma * factor) ** 2),
        jnp.asarray(targets),
    )
    places_ = tuple(o.places for o in data)
    return ExactModel(tuple(structures), places_, posterior), levels


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
