"""Fitting a sparse posterior: rows are made for a batch of structures, folded in, and forgotten."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gpjaxpot.covariance.features import Environments, environments, stage
from gpjaxpot.covariance.rows import as_numpy, inducing_rows
from gpjaxpot.gp.inducing import select
from gpjaxpot.gp.left_out import PADDING, Held, sparse_score
from gpjaxpot.gp.levels import Weighted, maximise, sparse_evidence
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.gp.sparse import SparsePosterior, whiten
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.linalg.streamed_qr import StreamedQR
from gpjaxpot.potential.cross import prior
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.training import Observations
from gpjaxpot.structures.batch import Neighbourhood, atom_bucket, collate, slot_bucket
from gpjaxpot.structures.files import atomic_write

Callback = Callable[[str, int, int], None]
compiled_environments = eqx.filter_jit(environments)
# Atoms in a batch, unless a structure has more: enough to fill the products, few enough to stay small in memory.
BATCH_ATOMS = 64
# Numbers of neighbour slots that a fit is compiled for: another one for so many batches, up to so many.  A shape
# costs seconds to compile, padding hundredths of a second in each batch.
BATCHES_PER_SHAPE = 256
SHAPES = 3
# Environments that inducing ones are chosen from, at the most.
CANDIDATES = 20000
SECONDS_BETWEEN_CHECKPOINTS = 20.0
# Structures that are left out in turn while levels are learned: fewer, where a score would take more than this many
# multiplications.
HELD = (8, 64)
WORK_PER_SCORE = 4e9
FIXED = "fixed"


def batches(
    found: Sequence[Neighbourhood], n_species: int
) -> list[tuple[list[int], tuple[int, ...], int]]:
    """Group structures into batches of about `BATCH_ATOMS`: (members, slots, places for atoms).

    Structures are taken in the order of their neighbour counts, so that little is padded; shapes are few.
    """
    places = atom_bucket(max(BATCH_ATOMS, *(len(f.structure) for f in found)))
    need = [f.most_neighbours(n_species) for f in found]
    order = sorted(range(len(found)), key=lambda i: (sum(need[i]), len(found[i].structure), i))
    groups: list[list[int]] = []
    for i in order:
        size = sum(len(found[j].structure) for j in groups[-1]) if groups else places
        full = size + len(found[i].structure) > places or (groups and len(groups[-1]) == BATCH_ATOMS)
        if not groups or full:
            groups.append([])
        groups[-1].append(i)
    # A few classes of neighbour counts, each with the slots of its largest.
    classes = np.array_split(np.arange(len(groups)), min(SHAPES, 1 + len(groups) // BATCHES_PER_SHAPE))
    shaped = []
    for members in classes:
        inside = [i for k in members for i in groups[k]]
        slots = tuple(slot_bucket(max(c)) for c in zip(*(need[i] for i in inside), strict=True))
        shaped += [(groups[k], slots, places) for k in members]
    return shaped


def choose_inducing(
    kernel: EnergyKernel,
    found: Sequence[Neighbourhood],
    count: int,
    selection: str,
    seed: int,
    callback: Callback,
) -> Environments:
    """Choose inducing environments among those of all structures; isolated atoms are always among them."""
    n_species = len(kernel.species)
    vectors: list[list[np.ndarray]] = [[] for _ in kernel.terms]
    species, alone = [], []
    shaped = batches(found, n_species)
    total = sum(len(f.structure) for f in found)
    keep = min(1.0, CANDIDATES / total)
    rng = np.random.default_rng(seed)
    for k, (members, slots, places) in enumerate(shaped):
        batch = collate([found[i] for i in members], n_species, slots=slots, atoms=places,
                        structures=BATCH_ATOMS)  # fmt: skip
        made = compiled_environments(kernel, batch)
        real = np.flatnonzero(np.asarray(batch.atom_mask))
        lonely = np.logical_not(np.any(np.asarray(batch.mask), axis=0))[real]
        real_kept = (rng.random(len(real)) < keep) | lonely
        chosen = real[real_kept]
        for column, features in zip(vectors, made.features, strict=True):
            column.append(np.asarray(features).T[chosen])
        species.append(np.asarray(batch.species)[chosen])
        alone.append(lonely[real_kept])
        callback("environments", k + 1, len(shaped))
    features = [np.concatenate(v) for v in vectors]
    kinds, lonely = np.concatenate(species), np.concatenate(alone)
    stacked = features[0] if len(features) == 1 else np.concatenate(features, axis=1)
    _, first = np.unique(np.column_stack([kinds, ~lonely]), axis=0, return_index=True)
    always = np.array([i for i in first if lonely[i]], dtype=np.int64)
    places_ = select(stacked, kinds, min(count, len(kinds)), selection, seed, always)
    return Environments(
        tuple(jnp.asarray(f[places_].T) for f in features), jnp.asarray(kinds[places_], jnp.int32)
    )


def stream(
    kernel: EnergyKernel,
    found: Sequence[Neighbourhood],
    data: Sequence[Observations],
    inducing: Environments,
    callback: Callback,
    checkpoint: Path | None = None,
) -> dict[str, StreamedQR]:
    """Fold the rows of all observations into one triangular factor for each noise level.

    Rows [k_fu | y] are divided by what is known of their σ.  With `checkpoint`, the factors are stored now and
    then, and an interrupted run with the same data and settings goes on from there.
    """
    columns = len(inducing) + 1
    factors = {name: StreamedQR(columns) for name in (*OBSERVABLES, FIXED)}
    shaped = batches(found, len(kernel.species))
    mark = _fingerprint(kernel, found, data, inducing)
    start = _resume(checkpoint, mark, factors)
    saved = time.monotonic()
    for k, (members, slots, places) in enumerate(shaped):
        if k < start:
            continue
        batch = collate([found[i] for i in members], len(kernel.species), slots=slots, atoms=places,
                        structures=BATCH_ATOMS)  # fmt: skip
        energy, forces, stress = as_numpy(inducing_rows(kernel, batch, inducing))
        first = 0
        for place, i in enumerate(members):
            n = len(found[i].structure)
            mine = forces[first : first + n].reshape(3 * n, -1)
            rows = np.concatenate([energy[place : place + 1], mine, stress[place]])
            first += n
            _fold(factors, rows, data[i])
        callback("covariances", k + 1, len(shaped))
        if checkpoint is not None and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            _store(checkpoint, mark, k + 1, factors)
            saved = time.monotonic()
    for factor in factors.values():
        factor.fold()
    return factors


def solve(
    kernel: EnergyKernel,
    found: Sequence[Neighbourhood],
    factors: dict[str, StreamedQR],
    data: Sequence[Observations],
    inducing: Environments,
    start: dict[str, float],
    free: tuple[str, ...],
    left_out: bool,
    seed: int,
    callback: Callback,
) -> tuple[SparseModel, dict[str, float], dict[str, float]]:
    """Find the free levels and condition; returns the model for unit signal variance × found, the levels, and the
    σ² (of level 1) that the inducing environments leave out of each observable whose level was free (`left_out` only).

    Levels are those that predict structures best which are left out in turn, or, unless `left_out`, those of highest
    evidence.  `start` holds "variance" and the level of each observable whose noise is to be learned.  The model's
    matrices are those of the kernel times the variance found.
    """
    k_uu = np.asarray(
        kernel.gram(inducing.features, inducing.features, inducing.species, inducing.species)
    )
    whitening = whiten(k_uu)
    parts = {
        name: _weighted(factor.factor, whitening, *_counts(data, name), name == FIXED)
        for name, factor in factors.items()
        if len(factor.factor)
    }
    free = tuple(name for name in free if name == "variance" or name in parts)
    held, spare = None, {}
    if free and left_out:
        held = hold(kernel, found, data, inducing, whitening, seed, callback)
    levels, _ = maximise(
        lambda x: sparse_evidence(x, parts) if held is None else sparse_score(x, parts, held, OBSERVABLES),
        {k: v for k, v in start.items() if k == "variance" or k in parts},
        free,
        lambda done, total: callback("levels", done, total),
    )
    if held is not None:
        spare = _spare(held, levels["variance"], free)
    root = np.sqrt(levels["variance"])
    rows, log_noise, count = [], 0.0, 0
    for name in parts:
        level = 1.0 if name == FIXED else levels[name]
        # Of the kernel times v: cov(f, u) grows by v and the whitening falls by √v.
        scaled = factors[name].factor / level
        rows.append(np.concatenate([scaled[:, :-1] * levels["variance"], scaled[:, -1:]], 1))
        n, own = _counts(data, name)
        count += n
        log_noise += own + 2.0 * n * np.log(level)
    posterior = SparsePosterior.from_rows(whitening / root, np.concatenate(rows), count, log_noise)
    return SparseModel(inducing, posterior), levels, spare


def hold(
    kernel: EnergyKernel,
    found: Sequence[Neighbourhood],
    data: Sequence[Observations],
    inducing: Environments,
    whitening: np.ndarray,
    seed: int,
    callback: Callback,
) -> Held:
    """Make the rows of the structures that are left out in turn."""
    grouped = batches(found, len(kernel.species))
    shapes = {i: (slots, places) for members, slots, places in grouped for i in members}
    chosen = _chosen_to_hold(data, whitening.shape[1], seed)
    most = max(len(data[i]) for i in chosen)
    rows = np.zeros((len(chosen), most, whitening.shape[1]))
    targets, spare, log_sigma = (np.zeros((len(chosen), most)) for _ in range(3))
    kind = np.full((len(chosen), most), PADDING, np.int32)
    for k, i in enumerate(chosen):
        slots, places = shapes[i]
        batch = collate([found[i]], len(kernel.species), slots=slots, atoms=places, structures=BATCH_ATOMS)
        staged = stage(kernel, batch)
        energy, forces, stress = as_numpy(inducing_rows(kernel, batch, inducing, staged))
        n, o = len(found[i].structure), data[i]
        full = np.concatenate([energy[:1], forces[:n].reshape(3 * n, -1), stress[0]])[o.places]
        before = prior(kernel, batch, staged)
        by_force = np.diagonal(np.asarray(before.forces)[:n], axis1=1, axis2=2).reshape(-1)
        variances = np.concatenate([[before.energy], by_force, before.stress])[o.places]
        here = slice(0, len(o))
        rows[k, here] = full @ whitening / o.sigma[:, None]
        targets[k, here] = o.targets / o.sigma
        spare[k, here] = np.maximum(variances / o.sigma**2 - np.sum(rows[k, here] ** 2, axis=1), 0.0)
        log_sigma[k, here] = np.log(o.sigma)
        kind[k, here] = np.where(o.known, len(OBSERVABLES), o.kind)
        callback("left out", k + 1, len(chosen))
    return Held(*(jnp.asarray(a) for a in (rows, targets, spare, log_sigma, kind)))


def _spare(held: Held, variance: float, free: tuple[str, ...]) -> dict[str, float]:
    """Mean of the prior variance that the inducing environments leave out, in units of the level's square."""
    kind, spare = np.asarray(held.kind), np.asarray(held.spare)
    found = {}
    for k, name in enumerate(OBSERVABLES):
        if name in free and np.any(kind == k):
            found[name] = variance * float(np.mean(spare[kind == k]))
    return found


def _chosen_to_hold(data: Sequence[Observations], rank: int, seed: int) -> np.ndarray:
    """Structures drawn at random, as many as the work allows; isolated atoms, with one label, are none."""
    able = np.array([i for i, o in enumerate(data) if len(o) > 1 or (len(o) == 1 and not o.known[0])])
    each = float(np.mean([len(data[i]) for i in able])) * rank**2
    count = int(np.clip(WORK_PER_SCORE / each, *HELD))
    return np.sort(np.random.default_rng(seed).permutation(able)[:count])


def _fold(factors: dict[str, StreamedQR], rows: np.ndarray, data: Observations) -> None:
    if not len(data):
        return
    chosen = np.concatenate([rows[data.places], data.targets[:, None]], 1) / data.sigma[:, None]
    for kind, name in enumerate(OBSERVABLES):
        factors[name].add(chosen[(data.kind == kind) & ~data.known])
    factors[FIXED].add(chosen[data.known])


def _counts(data: Sequence[Observations], name: str) -> tuple[int, float]:
    """Number of observations under a level, and the sum of the logarithms of their variances."""
    count, log_noise = 0, 0.0
    for o in data:
        used = o.known if name == FIXED else ~o.known & (o.kind == OBSERVABLES.index(name))
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


def _fingerprint(kernel, found, data, inducing) -> str:
    from gpjaxpot.potential.kernel_spec import to_spec

    digest = hashlib.sha256(json.dumps(_try_spec(to_spec, kernel)).encode())
    for item, o in zip(found, data, strict=True):
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


def _resume(checkpoint: Path | None, mark: str, factors: dict[str, StreamedQR]) -> int:
    if checkpoint is None or not checkpoint.exists():
        return 0
    try:
        with np.load(checkpoint, allow_pickle=False) as stored:
            if str(stored["mark"]) != mark:
                return 0
            for name, factor in factors.items():
                factor.factor = stored[name]
            return int(stored["done"])
    except (OSError, ValueError, KeyError, EOFError):
        return 0  # damaged: start again


def _store(checkpoint: Path, mark: str, done: int, factors: dict[str, StreamedQR]) -> None:
    with atomic_write(checkpoint, "wb") as handle:
        np.savez(handle, mark=np.array(mark), done=np.array(done), **{n: f.fold() for n, f in factors.items()})
