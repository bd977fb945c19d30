r"""The covariance of many structures' observables as a matrix, one half of it, by products of matrices.

With J_i for how a structure's observables move the vector of its environment i (`linearised.py`),

    $\mathrm{cov}(O, O') = \sum_i J_i \big(\sum_j κ'_{ij} J'_j\big)^T + \sum_{ij} κ''_{ij} (J_i q_j) (J'_j p_i)^T$,

where the sum in parentheses is made near the processor, for a few structures at a time, and there is one product with
each J_i instead of one for each i and j.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.contracted import Contracted, used_features
from gpjaxpot.covariance.linearised import profile_derivatives
from gpjaxpot.kernels.abstract import AbstractKernel
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.linalg.threads import own_threads
from gpjaxpot.linalg.tiles import Tiles

Callback = Callable[[str, int, int], None]
# Bytes of the sums over environments that are made at once: few enough to stay near the processor (twice and half as
# many take as long, a quarter of them a third longer).
NEAR = 1.2e7
# Bytes, about, of how observables move environments that are there at once; twice, of two parts of the structures.
THERE = 1e9


@dataclass(frozen=True)
class _Side:
    """Environments that see each other, of structures that are alike, under one term of the kernel."""

    species: Int[np.ndarray, " environments"]
    vectors: Float[np.ndarray, "structures environments features"]
    directions: Float[np.ndarray, "structures environments observables features"]


@dataclass(frozen=True)
class _Alike:
    """Structures of the same species in the same order, with the same number of observables beside the energy."""

    places: Int[np.ndarray, "structures energy_and_observables"]
    """In the matrix; its size for an energy that was not observed."""
    sides: dict[tuple[int, int], _Side]
    """For each term and each group of environments that see each other."""


def covariance(contracted: Contracted, callback: Callback) -> Tiles:
    """The covariance of all observables; those of a structure must follow each other."""
    out = Tiles(contracted.n_data)
    parts = _parts(contracted)
    counts = [len(part) for part in parts]
    total, done = sum(counts) * (sum(counts) + 1) // 2, 0

    def fill(some: _Alike, others: _Alike) -> None:
        for own, blocks in zip(some.places, _between(contracted.kernel, some, others), strict=True):
            _put(out, own, others.places, blocks)

    with own_threads() as pool:
        for i, part in enumerate(parts):
            here = list(pool.map(lambda make: make(), part))
            for j in range(i + 1):
                there = here if j == i else list(pool.map(lambda make: make(), parts[j]))
                for k, some in enumerate(here):
                    others = here[: k + 1] if j == i else there
                    for _ in pool.map(partial(fill, some), others):
                        pass  # what failed there is raised here
                    done += len(others)
                    callback("covariances", done, total)
    return out


def _parts(contracted: Contracted) -> list[list[Callable[[], _Alike]]]:
    """What makes all structures, few alike ones together, in parts that take not much more than `THERE`."""
    parts, size = [[]], 0.0
    for bytes_, make in _all_alike(contracted):
        if size + bytes_ > THERE and parts[-1]:
            parts.append([])
            size = 0.0
        parts[-1].append(make)
        size += bytes_
    return parts


def _all_alike(contracted: Contracted) -> Iterator[tuple[float, Callable[[], _Alike]]]:
    """What makes all structures, few of them together, and the bytes that it takes."""
    species, groups = contracted.species, contracted.groups
    used = [[used_features(f[np.isin(species, kinds)]) for kinds in groups] for f in contracted.features]
    shapes: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for k, own in enumerate(contracted.structures):
        shapes.setdefault((tuple(species[own.environments].tolist()), len(own.observed)), []).append(k)
    for (of, observables), members in shapes.items():
        sizes = [8.0 * len(of) * max(observables, 1) * f.shape[1] for f in contracted.features]
        count = max(1, int(NEAR / max(sizes)))
        for first in range(0, len(members), count):
            some = members[first : first + count]
            yield len(some) * sum(sizes), partial(_alike, contracted, np.array(of), some, groups, used)


def _alike(
    contracted: Contracted,
    species: Int[np.ndarray, " atoms"],
    members: Sequence[int],
    groups: Sequence[Int[np.ndarray, "_"]],
    used: Sequence[Sequence[Int[np.ndarray, "_"]]],
) -> _Alike:
    own = [contracted.structures[k] for k in members]
    sides = {}
    for term, features in enumerate(contracted.features):
        vectors = np.stack([features[o.environments] for o in own])
        directions = np.stack([contracted.directions(k, term) for k in members])
        for group, (kinds, columns) in enumerate(zip(groups, used[term], strict=True)):
            seen = np.flatnonzero(np.isin(species, kinds))
            if len(seen):
                sides[term, group] = _Side(
                    species[seen],
                    np.ascontiguousarray(vectors[:, seen][..., columns]),
                    np.ascontiguousarray(directions[:, seen][..., columns]),
                )
    return _Alike(np.stack([np.append(o.energy, o.observed) for o in own]), sides)


def _between(
    kernel: EnergyKernel, some: _Alike, others: _Alike
) -> Float[np.ndarray, "structures others its_observables observables"]:
    """Covariances of the energy and the other observables of `others` with those of `some`."""
    shape = (len(some.places), len(others.places), others.places.shape[1], some.places.shape[1])
    out = np.zeros(shape)
    for key in some.sides.keys() & others.sides.keys():
        _add(kernel, kernel.terms[key[0]].kernel, some.sides[key], others.sides[key], out)
    return out


def _add(kernel: EnergyKernel, function: AbstractKernel, a: _Side, b: _Side, out: np.ndarray) -> None:
    """Add what environments that see each other make of `out`."""
    n, na, oa, d = a.directions.shape
    m, nb, ob, _ = b.directions.shape
    coupling = None if kernel.similarity is None else kernel.coupling(jnp.asarray(b.species), jnp.asarray(a.species))
    t = (b.vectors.reshape(-1, d) @ a.vectors.reshape(-1, d).T).reshape(m, nb, n, na)
    k0, k1, k2 = (np.asarray(k).transpose(2, 0, 1, 3) for k in _profiles(function, coupling, t))
    u = (b.vectors.reshape(-1, d) @ a.directions.reshape(-1, d).T).reshape(m, nb, n, na, oa).transpose(2, 0, 1, 3, 4)
    v = (a.vectors.reshape(-1, d) @ b.directions.reshape(-1, d).T).reshape(n, na, m, nb, ob)
    rows = ob if m > 1 else max(1, min(ob, int(NEAR / (8.0 * na * max(d, 1)))))
    for h in range(n):
        out[h, :, 0, 0] += np.sum(k0[h], axis=(1, 2))
        out[h, :, 0, 1:] += np.einsum("mba,mbax->mx", k1[h], u[h])
        out[h, :, 1:, 0] += np.einsum("mba,ambx->mx", k1[h], v[h])
        both = np.ascontiguousarray(np.einsum("ambx,mba->mxba", v[h], k2[h])).reshape(m, ob, nb * na)
        rest = both @ u[h].reshape(m, nb * na, oa)
        weights = k1[h].transpose(0, 2, 1)
        for first in range(0, ob, rows):
            moved = b.directions[:, :, first : first + rows]
            size = moved.shape[2]
            sums = np.empty((na, m, size * d))
            np.matmul(weights, moved.reshape(m, nb, size * d), out=sums.transpose(1, 0, 2))
            for total, direction in zip(sums, a.directions[h], strict=True):
                rest[:, first : first + size] += (total.reshape(m * size, d) @ direction.T).reshape(m, size, oa)
        out[h, :, 1:, 1:] += rest


def _put(
    out: Tiles,
    own: Int[np.ndarray, " observables"],
    theirs: Int[np.ndarray, "others its_observables"],
    blocks: Float[np.ndarray, "others its_observables observables"],
) -> None:
    """Write covariances of one structure's observables with those of others to where they belong in the upper half."""
    mine = own < len(out)
    later = theirs[:, -1] >= own[-1]
    for these, flip in ((theirs[later], False), (theirs[~later], True)):
        places = these.reshape(-1)
        kept = places < len(out)
        block = blocks[~later if flip else later].reshape(len(places), len(own))[kept][:, mine]
        if block.size:
            if flip:
                out.put(places[kept], own[mine], block)
            else:
                out.put(own[mine], places[kept], block.T)


@eqx.filter_jit
def _profiles(
    kernel: AbstractKernel, coupling: Float[Array, "b a"] | None, t: Float[AnyArray, "others b structures a"]
) -> tuple[Float[Array, "others b structures a"], ...]:
    """The kernel's profile and its first two derivatives."""
    found = profile_derivatives(kernel, jnp.asarray(t))
    return found if coupling is None else tuple(coupling[None, :, None, :] * k for k in found)
