r"""Work of the forces between structures that lie near each other, as along a trajectory.

$W_{ij} = -\frac12 (F_i + F_j) \cdot (R_j - R_i)$, the trapezoidal rule, is $E_j - E_i$ up to the third order of the
displacement. Around a triangle of structures such works add up to zero, but for this error and for the noise of the
forces. No energy is part of that sum: it tells how far works can be trusted before any energy is held against them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.slope import Slope
from gpjaxpot.structures.structure import Structure

RANKS = (1, 2, 4, 8)
"""Neighbours that are taken: the nearest, the second nearest, …"""
FEWEST = 20
"""Triangles; of fewer no typical size can be told."""
# Å; atoms of neighbours are displaced by less, or forces at the two ends say too little about what is between.
_FARTHEST = 0.5
_NEAREST = 1e-4
# Of more structures of one kind in a row the first are taken: all are neighbours of some of them.
_MOST = 1000
# Displacements are turned into this many numbers, which keeps near ones near.
_NUMBERS = 24
_GRID = 1e-4  # Å
# Works are good for a slope where their gaps are a smaller share of them, and if the rest follows them so closely.
_GAP = 0.25
_CORRELATION = 0.97
_UNRELATED = 0.9


@dataclass(frozen=True)
class Works:
    """From structures to their neighbours of one rank, all of the same atoms in the same cell."""

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    """Places in the list that was given."""
    n_atoms: int
    rank: int
    changes: Float[np.ndarray, " pairs"]
    """Energies of the second less those of the first, eV."""
    works: Float[np.ndarray, " pairs"]
    """What the forces say these are, eV."""
    gaps: Float[np.ndarray, " pairs"]
    """What works around a triangle with one more neighbour add up to, eV: their error."""


def neighbouring_works(frames: Sequence[Frame]) -> list[Works]:
    """Return the works between like structures with energies and forces, one record for each rank of neighbours.

    Structures of a variable cell are left out, as are neighbours any of whose atoms is displaced by more than 0.5 Å.
    Empty where there are fewer than `FEWEST` triangles of neighbours. Takes a second for 10⁵ atoms.
    """
    return [works for places in _alike(frames) for works in _of_group(frames, places)]


def trusted_slope(works: Works) -> Slope | None:
    """Return how steeply works run against the changes of the energies: 1 in healthy data, -1 of gradients.

    The median over pairs, which a few jumps do not turn. None where too few works are exact enough, or energies do not
    follow them.
    """
    work, change = _exact(works)
    if len(work) < FEWEST or abs(_correlation(work, change)) < _CORRELATION:
        return None
    ratios = work / change
    value = float(np.median(ratios))
    # Of a median, from the MAD as if errors were normal.
    width = 1.4826 * float(np.median(np.abs(ratios - value)))
    return Slope(value, width * float(np.sqrt(np.pi / 2 / len(work))), _correlation(work, change), len(work))


def unrelated(works: Sequence[Works]) -> bool:
    """Whether there are works that are exact enough and energies follow none of them: then no unit is at fault."""
    # Of nearest neighbours: those are the most exact.
    nearest = (part for part in works if part.rank == RANKS[0])
    exact = [pairs for pairs in map(_exact, nearest) if len(pairs[0]) >= FEWEST]
    return bool(exact) and all(abs(_correlation(*pairs)) < _UNRELATED for pairs in exact)


def _exact(works: Works) -> tuple[np.ndarray, np.ndarray]:
    """Return the works whose error is small beside them, and the changes of energy that belong to them."""
    good = (np.abs(works.gaps) < _GAP * np.abs(works.works)) & (works.changes != 0)
    return works.works[good], works.changes[good]


def _correlation(work: np.ndarray, change: np.ndarray) -> float:
    return float(work @ change / np.sqrt((work @ work) * (change @ change)))


def _alike(frames: Sequence[Frame]) -> list[list[int]]:
    """Return places of structures with the same atoms, in the same order and in the same cell."""
    groups: dict[tuple[bytes, tuple[bool, ...], bytes], list[int]] = {}
    for i, frame in enumerate(frames):
        structure, labels = frame.structure, frame.labels
        if len(structure) > 1 and labels.energy is not None and labels.forces is not None:
            cell = np.rint(structure.cell / _GRID) + 0.0
            groups.setdefault((structure.numbers.tobytes(), structure.pbc, cell.tobytes()), []).append(i)
    return [places[:_MOST] for places in groups.values() if len(places) >= FEWEST]


def _of_group(frames: Sequence[Frame], places: Sequence[int]) -> Iterator[Works]:
    from scipy.spatial import KDTree

    structure = frames[places[0]].structure
    n_atoms, where = len(structure), np.array(places)
    positions = np.array([frames[i].structure.positions for i in places])
    forces = np.array([frames[i].labels.forces for i in places])
    energies = np.array([frames[i].labels.energy for i in places], dtype=float)
    moved = _displacements(positions - positions[0], structure).reshape(len(places), -1)
    if moved.shape[1] > _NUMBERS:
        turn = np.random.default_rng(0).normal(size=(moved.shape[1], _NUMBERS))
        moved = moved @ (turn / np.sqrt(_NUMBERS))
    near = np.asarray(KDTree(moved).query(moved, k=2 * RANKS[-1] + 1)[1])
    here = np.arange(len(places))
    for rank in RANKS:
        there, third = near[:, rank], near[:, 2 * rank]
        out = _displacements(positions[there] - positions, structure)
        on = _displacements(positions[third] - positions[there], structure)
        back = -out - on
        sizes = [np.linalg.norm(leg, axis=2).max(axis=1) for leg in (out, on, back)]
        kept = (np.max(sizes, axis=0) < _FARTHEST) & (np.min(sizes, axis=0) > _NEAREST)
        if kept.sum() < FEWEST:
            continue
        works = _work(forces, here, there, out)
        gaps = works + _work(forces, there, third, on) + _work(forces, third, here, back)
        changes = energies[there] - energies
        yield Works(where[kept], where[there[kept]], n_atoms, rank, changes[kept], works[kept], gaps[kept])


def _displacements(difference: np.ndarray, structure: Structure) -> np.ndarray:
    """Return the shortest displacements (structures, atoms, 3) of atoms, without that of all together."""
    cell = np.where(np.array(structure.pbc)[:, None], structure.cell, 0.0)
    # Of a skewed cell this is not always the shortest image, but it is where atoms move by a fraction of the cell.
    share = difference @ np.linalg.pinv(cell)
    common = np.angle(np.exp(2j * np.pi * share).mean(axis=1, keepdims=True)) / (2 * np.pi)
    difference = difference - np.rint(share - common) @ cell
    return difference - difference.mean(axis=1, keepdims=True)


def _work(forces: np.ndarray, start: np.ndarray, end: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    return -0.5 * np.einsum("nax,nax->n", forces[start] + forces[end], displacements)
