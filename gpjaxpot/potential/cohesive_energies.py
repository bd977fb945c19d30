"""What bound atoms have beyond isolated ones, and how many neighbours they have at the least."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.cohesion import Cohesion
from gpjaxpot.structures.distances import covalent_radii
from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.reference import EnergyReference, with_cohesion
from gpjaxpot.structures.structure import Structure

# Sum of weights below which cohesion is taken back, over the least one in the data.
MARGIN = 0.9
# An atom is bound that has a neighbour within so many times the sum of their covalent radii (in 14 public sets it is
# 1.28 at the most), and that weigh enough: cohesion that were gone within a short way would be a force without data.
BOND = 1.4
LEAST_WEIGHT = 0.1


def choose_cohesion(
    frames: Sequence[Frame], reference: EnergyReference, species: Sequence[int], cutoff: float, wanted: bool
) -> tuple[EnergyReference, Cohesion | None, Choice]:
    """The energies per species, with cohesion where isolated atoms are known and every other atom is bound.

    And the cohesion, for `species` and whole for all atoms that are bound in `frames`; None if there is none.
    """
    key = "cohesion"
    why, enough = _enough(frames, reference, species, cutoff) if wanted else ("asked for", None)
    if enough is None:
        return reference, None, Choice(key, False, why)
    made = with_cohesion(reference, frames)
    found = made.cohesive_energies
    energies = np.array([found.get(z, 0.0) for z in species])
    told = ", ".join(f"{symbol(z)} {e:.2f}" for z, e in found.items())
    cohesion = Cohesion(jnp.asarray(energies), jnp.asarray(enough), jnp.asarray(cutoff, float))
    return made, cohesion, Choice(key, True, f"bound atoms have {told} eV beyond isolated ones")


def _enough(
    frames: Sequence[Frame], reference: EnergyReference, species: Sequence[int], cutoff: float
) -> tuple[str, Float[np.ndarray, " species"] | None]:
    """With what weight of neighbours an atom of each species is bound; or why that cannot be told."""
    if reference.origin == "least squares":
        return "energies of isolated atoms are not known", None
    least = np.full(len(species), np.inf)
    for frame in frames:
        weights, nearest = _weights_and_nearest(frame.structure, cutoff)
        where = frame.source or "a structure"
        if frame.isolated:
            if weights.any():
                return f"{where}: an atom that is called isolated has others within {cutoff:.3g} Å", None
            continue
        if nearest.max() > BOND:
            return f"{where}: an atom has no other within {BOND:g} of the sum of their covalent radii", None
        if weights.min() < LEAST_WEIGHT:
            return f"{where}: an atom has no other well within the cutoff", None
        np.minimum.at(least, np.searchsorted(species, frame.structure.numbers), weights)
    return "", np.where(np.isfinite(least), MARGIN * least, 1.0)  # a species that is nowhere bound has no cohesion


def _weights_and_nearest(structure: Structure, cutoff: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each atom the sum of its neighbours' weights, and the nearest one's distance over the sum of their radii."""
    from vesin import NeighborList

    first, second, distances = NeighborList(cutoff=cutoff, full_list=True).compute(
        structure.positions, structure.cell, list(structure.pbc), "ijd"
    )
    first, second = first.astype(int), second.astype(int)
    radii = covalent_radii()[structure.numbers]
    nearest = np.full(len(structure), np.inf)
    np.minimum.at(nearest, first, distances / (radii[first] + radii[second]))
    u = np.clip(distances / cutoff, 0.0, 1.0)  # `smooth_cutoff`, which would be compiled for each number of pairs
    weights = np.bincount(first, 1.0 - u**3 * (10.0 - 15.0 * u + 6.0 * u**2), len(structure))
    return weights, nearest
