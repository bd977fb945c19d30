"""The worst atoms in their structures, as the viewer of a report draws them."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.structure import Structure

_MOST_ATOMS = 400
_MOST_SCENES = 8
# Two atoms are drawn as bonded if they are closer than this many sums of their covalent radii.
_BOND = 1.2
Edges = list[list[list[float]]]


def report_scenes(frames: Sequence[Frame], worst: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a scene for each of up to eight worst atoms, plain JSON: lengths in Å, forces in eV/Å.

    Positions are relative to the worst atom, which is the first one. Periodic structures are wrapped around it, so
    that it stands in the middle of its surroundings; of more than 400 atoms the nearest are shown.

    Args:
        frames: those that `structure` of a worst atom is a place in.
        worst: `worst_atoms` of a `report_record`.
    """
    return [_scene(frames[atom["structure"]], atom) for atom in worst[:_MOST_SCENES]]


def _scene(frame: Frame, atom: Mapping[str, Any]) -> dict[str, Any]:
    structure = frame.structure
    positions = _around(structure, atom["atom"])
    order = np.argsort(np.linalg.norm(positions, axis=1), kind="stable")
    order = np.concatenate([[atom["atom"]], order[order != atom["atom"]]])[:_MOST_ATOMS]
    numbers, shown = structure.numbers[order], positions[order]
    return {
        "source": frame.source,
        "atom": atom["atom"],
        "species": atom["species"],
        "error": atom["error_eV_per_A"],
        "sigma": atom["sigma_eV_per_A"],
        "reference": _rounded(np.array(atom["reference_eV_per_A"])),
        "predicted": _rounded(np.array(atom["predicted_eV_per_A"])),
        "total": len(structure),
        "symbols": [symbol(int(n)) for n in numbers],
        "indices": order.tolist(),
        "positions": _rounded(shown),
        "looks": _looks(numbers),
        "bonds": _bonds(numbers, shown),
        "edges": _edges(structure),
    }


def _around(structure: Structure, centre: int) -> Float[np.ndarray, "atoms 3"]:
    """Return positions relative to an atom: in periodic directions, those of the image nearest to it in the cell."""
    away = structure.positions - structure.positions[centre]
    periodic = np.flatnonzero(structure.pbc)
    if not len(periodic):
        return away
    vectors = structure.cell[periodic]
    shares = away @ np.linalg.pinv(vectors)
    return away - np.round(shares) @ vectors


def _looks(numbers: Int[np.ndarray, " atoms"]) -> dict[str, dict[str, Any]]:
    """Return colour and radius of each species."""
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors

    looks = {}
    for number in np.unique(numbers):
        colour = [round(255 * float(c)) for c in jmol_colors[min(number, len(jmol_colors) - 1)]]
        looks[symbol(int(number))] = {"colour": colour, "radius": round(float(covalent_radii[number]), 2)}
    return looks


def _bonds(numbers: Int[np.ndarray, " atoms"], positions: Float[np.ndarray, "atoms 3"]) -> list[list[int]]:
    from ase.data import covalent_radii

    radii = covalent_radii[numbers]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    near = np.triu(distances < _BOND * (radii[:, None] + radii[None]), k=1)
    return np.argwhere(near).tolist()


def _edges(structure: Structure) -> Edges:
    """Return the edges of the cell of the periodic directions, around the origin."""
    vectors = structure.cell[np.flatnonzero(structure.pbc)]
    corners = list(product((-0.5, 0.5), repeat=len(vectors)))
    return [
        [_rounded(np.array(a) @ vectors), _rounded(np.array(b) @ vectors)]
        for a in corners
        for b in corners
        if a < b and sum(x != y for x, y in zip(a, b, strict=True)) == 1
    ]


def _rounded(values: np.ndarray) -> list[Any]:
    return np.round(values, 4).tolist()
