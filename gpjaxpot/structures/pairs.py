"""Neighbours of each atom, images of periodic cells included; found on the host."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.errors import InputError
from gpjaxpot.structures.structure import Structure


@dataclass(frozen=True)
class Pairs:
    """Directed pairs centre → other, sorted by centre, each with its integer cell shift.

    The vector of a pair is ``R[other] + shift @ cell - R[centre]``.  A pair and its reverse are both
    listed; an atom is a neighbour of its own images but not of itself.
    """

    centres: Int[np.ndarray, " pairs"]
    others: Int[np.ndarray, " pairs"]
    shifts: Int[np.ndarray, "pairs 3"]
    reverse: Int[np.ndarray, " pairs"]
    """Place of the pair other → centre with the opposite shift."""
    cutoff: float


def find_pairs(structure: Structure, cutoff: float) -> Pairs:
    """Return all pairs within `cutoff` (Å); any cell, periodic in any subset of directions.

    Cells smaller than the cutoff, skewed cells and unwrapped positions are handled: a pair is counted
    once for each image that lies within the cutoff.

    Raises:
        InputError: for positions so many cells apart that pairs cannot be numbered.
    """
    import vesin

    cell = _filled_cell(structure)
    search = vesin.NeighborList(cutoff=float(cutoff), full_list=True, sorted=False)
    i, j, shifts = search.compute(
        points=structure.positions, box=cell, periodic=np.array(structure.pbc), quantities="ijS"
    )
    i, j, shifts = i.astype(np.int64), j.astype(np.int64), shifts.astype(np.int64)
    # One whole number for each pair, in the order of (centre, other, shift).
    most = int(np.abs(shifts).max(initial=0))
    code = (shifts + most) @ (2 * most + 1) ** np.array([2, 1, 0])
    last = (2 * most + 1) ** 3 - 1
    if len(structure) ** 2 * (last + 1) > np.iinfo(np.int64).max:
        raise InputError(
            f"neighbours of {len(structure)} atoms lie up to {most} cells apart: wrap the positions into the cell"
        )
    key = (i * len(structure) + j) * (last + 1) + code
    order = np.argsort(key)
    i, j, shifts, key, code = i[order], j[order], shifts[order], key[order], code[order]
    # The opposite shift counts down from the last code.
    reverse = np.searchsorted(key, (j * len(structure) + i) * (last + 1) + last - code)
    return Pairs(i, j, shifts, reverse, float(cutoff))


def _filled_cell(structure: Structure) -> Float[np.ndarray, "3 3"]:
    """Return the cell with unit vectors, normal to the others, where a direction has no vector."""
    cell = np.where(np.array(structure.pbc)[:, None], structure.cell, 0.0)
    missing = [k for k in range(3) if not structure.pbc[k]]
    if not missing:
        return cell
    present = cell[[k for k in range(3) if structure.pbc[k]]]
    basis = np.linalg.svd(present)[2] if len(present) else np.eye(3)
    cell[missing] = basis[len(present) :]
    return cell
