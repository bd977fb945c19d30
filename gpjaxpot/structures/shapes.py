"""What a structure is up to rotation, translation and the order of its atoms: its distances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gpjaxpot.structures.structure import Structure

REACH = 5.0
"""Å; longer distances are not looked at."""
SAME = 2e-3
"""Å; structures all of whose distances agree to this are one structure."""
_BIN = 0.25  # Å
# Long vectors of bins are turned into this many numbers, which keeps near ones near.
_NUMBERS = 24
_NEIGHBOURS = 4


@dataclass(frozen=True)
class Shape:
    """Sorted distances (Å) of each pair of species, and a summary of them that is quick to compare.

    `vector` holds counts per atom, smooth in the distances: nearly equal for like structures of
    any size.
    """

    composition: tuple[tuple[int, int], ...]
    """Atomic numbers and how many atoms have each."""
    distances: dict[tuple[int, int], Float[np.ndarray, " pairs"]]
    vector: Float[np.ndarray, " numbers"]


def shape(structure: Structure) -> Shape:
    """Return the shape of a structure, periodic images included."""
    from vesin import NeighborList

    first, second, r = NeighborList(cutoff=REACH, full_list=False).compute(
        structure.positions, structure.cell, list(structure.pbc), "ijd"
    )
    a, b = structure.numbers[first.astype(int)], structure.numbers[second.astype(int)]
    code = np.minimum(a, b) * 256 + np.maximum(a, b)
    order = np.lexsort((r, code))
    code, r = code[order], r[order]
    kinds, starts = np.unique(code, return_index=True)
    ends = [*starts[1:], len(r)]
    distances = {
        (int(k) // 256, int(k) % 256): r[start:end] for k, start, end in zip(kinds, starts, ends, strict=False)
    }
    numbers, counts = np.unique(structure.numbers, return_counts=True)
    composition = tuple(zip(numbers.tolist(), counts.tolist(), strict=True))
    return Shape(composition, distances, _summary(distances) / len(structure))


def same(a: Shape, b: Shape) -> bool:
    """Whether two shapes are copies: one composition, and all distances equal to `SAME`."""
    if a.composition != b.composition or a.distances.keys() != b.distances.keys():
        return False
    for kind, one in a.distances.items():
        other = b.distances[kind]
        n = min(len(one), len(other))
        # Those that one has more must lie at the very end of what is looked at.
        longest = one[n:] if len(one) > n else other[n:]
        if np.abs(one[:n] - other[:n]).max(initial=0.0) > SAME or longest.min(initial=REACH) < REACH - SAME:
            return False
    return True


def copies(shapes: Sequence[Shape], among: Sequence[Shape] | None = None) -> list[tuple[int, int]]:
    """Return pairs of places of shapes that are copies of each other: in `shapes`, then in `among`.

    Within one sequence (`among` not given) each later place is paired with an earlier one. A shape
    with many copies is paired with one or a few of them.
    """
    from scipy.spatial import KDTree

    others = shapes if among is None else among
    if not shapes or not others:
        return []
    tree = KDTree(np.array([s.vector for s in others]))
    near = tree.query(np.array([s.vector for s in shapes]), k=_NEIGHBOURS)[1].reshape(len(shapes), -1)
    pairs = set()
    for i, candidates in enumerate(near):
        for j in candidates.tolist():
            if j >= len(others) or (among is None and i == j):
                continue
            if same(shapes[i], others[j]):
                pairs.add((i, j) if among is not None else (max(i, j), min(i, j)))
    return sorted(pairs)


def _summary(distances: dict[tuple[int, int], np.ndarray]) -> np.ndarray:
    total = np.zeros(_NUMBERS)
    for (a, b), r in distances.items():
        place = r / _BIN
        low = place.astype(int)
        weight = (1.0 - (r / REACH) ** 2) ** 2
        bins = np.bincount(low, weight * (low + 1 - place), minlength=int(REACH / _BIN) + 2)
        bins[1:] += np.bincount(low, weight * (place - low), minlength=len(bins))[: len(bins) - 1]
        # One fixed table of signs for each pair of species, the same in every run.
        signs = np.random.default_rng([a, b]).choice([-1.0, 1.0], size=(_NUMBERS, len(bins)))
        total += signs @ bins
    return total / np.sqrt(_NUMBERS)
