"""How near atoms came in the structures that a potential was fitted to."""

from typing import TYPE_CHECKING

from gpjaxpot.structures.nearest import pair_name

if TYPE_CHECKING:
    from gpjaxpot.potential.potential import Potential

KEY = "least_distances"
"""Of the record: Å, by pair of species."""


def least_distances_of(potential: "Potential") -> dict[str, float]:
    """Return below which distances (Å) the data of a fit have no pair of atoms, as far as the potential knows.

    Without a record of them, these are the radii of its repulsion, which begins below all data; none without one.
    """
    if KEY in potential.record:
        return dict(potential.record[KEY])
    if potential.repulsion is None:
        return {}
    species, outer = potential.species, potential.repulsion.outer
    return {
        pair_name(a, b): float(outer[i, j]) for i, a in enumerate(species) for j, b in enumerate(species) if i <= j
    }
