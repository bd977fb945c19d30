"""Atoms of a structure that are nearer to each other than their sizes allow."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from gpjaxpot.structures.structure import Structure


@dataclass(frozen=True)
class ClosePair:
    """Two atoms, their distance (Å), and that distance over the sum of their radii."""

    first: int
    second: int
    distance: float
    share: float


def closest_pair(structure: Structure, share: float) -> ClosePair | None:
    """Return the pair nearest by `distance / (sum of covalent radii)`, periodic images included.

    None if no pair is nearer than `share` of the sum of its covalent radii.
    Radii: Cordero et al., Dalton Trans. 2832 (2008), as in `ase.data`.
    """
    from vesin import NeighborList

    radii = covalent_radii()[structure.numbers]
    pairs = NeighborList(cutoff=share * 2 * radii.max(), full_list=False)
    first, second, distances = pairs.compute(
        structure.positions, structure.cell, list(structure.pbc), "ijd"
    )
    if not len(distances):
        return None
    shares = distances / (radii[first.astype(int)] + radii[second.astype(int)])
    worst = int(np.argmin(shares))
    if shares[worst] >= share:
        return None
    return ClosePair(
        int(first[worst]), int(second[worst]), float(distances[worst]), float(shares[worst])
    )


def nearest_distance(structure: Structure, cutoff: float) -> float | None:
    """Return the least distance (Å) of two atoms, images included; None if it is not below `cutoff`."""
    from vesin import NeighborList

    (distances,) = NeighborList(cutoff=cutoff, full_list=False).compute(
        structure.positions, structure.cell, list(structure.pbc), "d"
    )
    return float(distances.min()) if len(distances) else None


def least_distances(
    structures: Sequence[Structure], species: Sequence[int], cutoff: float
) -> Float[np.ndarray, "species species"]:
    """Return the least distance (Å) of each two species in all `structures`, images included; ∞ if not below `cutoff`.

    Every atom's species must be among `species`, which ascend.
    """
    from vesin import NeighborList

    least = np.full((len(species), len(species)), np.inf)
    search = NeighborList(cutoff=cutoff, full_list=False)
    for structure in structures:
        first, second, distances = search.compute(structure.positions, structure.cell, list(structure.pbc), "ijd")
        place = np.searchsorted(species, structure.numbers)
        np.minimum.at(least, (place[first.astype(int)], place[second.astype(int)]), distances)
    return np.minimum(least, least.T)


def vacuum(structure: Structure) -> float:
    """Return the widest gap (Å) between planes of atoms of a periodic cell; else 0."""
    if not all(structure.pbc):
        return 0.0
    inverse = np.linalg.inv(structure.cell)
    fractions = np.sort((structure.positions @ inverse) % 1.0, axis=0)
    gaps = np.diff(fractions, axis=0, append=fractions[:1] + 1.0).max(axis=0)
    # Column a of the inverse is normal to the plane of the other two; its length, 1/height.
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    return float(np.max(gaps * heights))


@cache
def covalent_radii() -> Float[np.ndarray, " elements"]:
    """Return the covalent radius (Å) of each atomic number: Cordero et al., Dalton Trans. 2832 (2008)."""
    from ase.data import covalent_radii as radii

    return np.asarray(radii, dtype=np.float64)
