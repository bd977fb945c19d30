"""Fitting an exact posterior: the dense covariance of all observations, and its factor."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.left_out import exact_score
from gpjaxpot.gp.levels import exact_evidence, maximise
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.exact_model import ExactModel, block, linear, one_by_one, padded_places
from gpjaxpot.potential.training import Observations
from gpjaxpot.structures.structure import Structure

Callback = Callable[[str, int, int], None]
# Observations that the noise levels are learned on, at the most.
LEARNED_ON = 900


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
    start: dict[str, float],
    free: tuple[str, ...],
    left_out: bool,
    callback: Callback,
) -> tuple[ExactModel, dict[str, float]]:
    """Find the free levels, on whole structures up to `LEARNED_ON` observations, and condition.

    Levels are those that predict structures best which are left out in turn, or, unless `left_out`, those of highest
    evidence.
    """
    targets = np.concatenate([o.targets for o in data])
    sigma = np.concatenate([o.sigma for o in data])
    known = np.concatenate([o.known for o in data])
    kind = np.concatenate([o.kind for o in data])
    present = {OBSERVABLES[k] for k in np.unique(kind[~known])}
    start = {k: v for k, v in start.items() if k == "variance" or k in present}
    free = tuple(name for name in free if name in start)
    members = _some(data)
    some = np.concatenate(members)
    names = tuple(None if k else OBSERVABLES[o] for k, o in zip(known[some], kind[some], strict=True))
    learned = jnp.asarray(covariance[np.ix_(some, some)]) if free else jnp.zeros((1, 1))
    factors, values = jnp.asarray(sigma[some]), jnp.asarray(targets[some])
    levels = start
    if free:
        kinds = jnp.asarray(np.where(known[some], len(OBSERVABLES), kind[some]), jnp.int32)
        places = jnp.asarray(_padded(members))

        def score(x):
            if left_out:
                return exact_score(x, learned, factors, kinds, values, places, OBSERVABLES)
            return exact_evidence(x, learned, factors, names, values)

        levels, _ = maximise(
            score,
            start,
            free,
            lambda done, total: callback("levels", done, total),
        )
    factor = np.ones(len(sigma))
    for name in present:
        factor[(kind == OBSERVABLES.index(name)) & ~known] = levels[name]
    posterior = ExactPosterior.condition(
        jnp.asarray(levels["variance"] * covariance),
        jnp.asarray((sigma * factor) ** 2),
        jnp.asarray(targets),
    )
    places = tuple(o.places for o in data)
    return ExactModel(tuple(structures), places, posterior), levels


def _some(data: Sequence[Observations]) -> list[np.ndarray]:
    """Places of the observations of evenly spread structures, about `LEARNED_ON` of them at the most."""
    edges = np.concatenate([[0], np.cumsum([len(o) for o in data])])
    step = max(1, int(np.ceil(edges[-1] / LEARNED_ON)))
    return [np.arange(edges[i], edges[i + 1]) for i in range(0, len(data), step) if len(data[i])]


def _padded(members: list[np.ndarray]) -> np.ndarray:
    """Places of each structure's observations among all of them, padded with their number."""
    total, start = sum(len(m) for m in members), 0
    out = np.full((len(members), max(len(m) for m in members)), total)
    for row, m in zip(out, members, strict=True):
        row[: len(m)] = start + np.arange(len(m))
        start += len(m)
    return out
