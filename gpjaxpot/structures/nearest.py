"""How near atoms of each two species come in a data set, and structures in which they come nearer."""

from collections.abc import Mapping, Sequence

import numpy as np

from gpjaxpot.structures.distances import least_distances
from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.finding import Finding, listed
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.structure import Structure

BELOW = 0.9
"""Share of the data's least distance. Other structures of the same kind, and hotter ones, kept above it (19 files)."""


def pair_name(a: int, b: int) -> str:
    """Return the name of a pair of species, the smaller atomic number first: H-O."""
    return "-".join(symbol(number) for number in sorted((a, b)))


def nearest_by_pair(frames: Sequence[Frame], species: Sequence[int], reach: float) -> dict[str, float]:
    """Return the least distance (Å) of each two species, `reach` where none is below it.

    Every atom's species must be among `species`, which ascend.
    """
    least = np.minimum(least_distances([frame.structure for frame in frames], species, reach), reach)
    return {
        pair_name(a, b): float(least[i, j]) for i, a in enumerate(species) for j, b in enumerate(species) if i <= j
    }


def check_nearest(known: Mapping[str, float], frames: Sequence[Frame]) -> list[Finding]:
    """Return a note if atoms are nearer to each other than `known` says for their pair of species, a warning if much.

    Args:
        known: Å, by the names of pairs (`pair_name`); of pairs that are not there nothing is said.
        frames: structures to be predicted.
    """
    found = [(i, pair) for i, frame in enumerate(frames) if (pair := _nearest(known, frame.structure)) is not None]
    if not found:
        return []
    place, (first, second, distance, name) = min(found, key=lambda entry: entry[1][2] / known[entry[1][3]])
    where = [frames[i].source or f"structure {i}" for i, _ in found]
    numbers = frames[place].structure.numbers
    return [
        Finding(
            "warning" if distance < BELOW * known[name] else "note",
            "nearer",
            f"{len(found)} of {len(frames)} structures have atoms nearer to each other than any that the model was "
            f"fitted to ({listed(where)}); most so atoms {first} ({symbol(int(numbers[first]))}) and {second} "
            f"({symbol(int(numbers[second]))}), {distance:.3f} Å, in {frames[place].source or f'structure {place}'}: "
            f"its data have no {name} below {known[name]:.3f} Å",
            tuple(i for i, _ in found),
            "nothing was learned there, only a repulsion keeps such atoms apart: mend the structures, or fit with such "
            "ones too",
        )
    ]


def _nearest(known: Mapping[str, float], structure: Structure) -> tuple[int, int, float, str] | None:
    """Return the pair that is farthest below what is known: two atoms, their distance (Å), and the pair's name."""
    from vesin import NeighborList

    species = np.unique(structure.numbers)
    names = {(int(a), int(b)): pair_name(int(a), int(b)) for a in species for b in species}
    limits = np.array([[known.get(names[int(a), int(b)], 0.0) for b in species] for a in species])
    if not limits.any():
        return None
    first, second, r = NeighborList(cutoff=float(limits.max()), full_list=False).compute(
        structure.positions, structure.cell, list(structure.pbc), "ijd"
    )
    kind = np.searchsorted(species, structure.numbers)
    limit = limits[kind[first.astype(int)], kind[second.astype(int)]]
    # Digits that a file keeps make no new distance.
    share = np.where(limit > 0, r / np.maximum(limit, 1e-12), np.inf) + 1e-6
    if not len(share) or share.min() >= 1.0:
        return None
    k = int(np.argmin(share))
    i, j = sorted((int(first[k]), int(second[k])))
    return i, j, float(r[k]), names[int(structure.numbers[i]), int(structure.numbers[j])]
