"""Grouping the structures of a training set into few shapes."""

from collections.abc import Sequence

import numpy as np

from gpjaxpot.structures.batch import Batch, Neighbourhood, atom_bucket, collate, slot_bucket

# Atoms in a batch, unless a structure has more: enough to fill the products, few enough to stay small in memory.
BATCH_ATOMS = 64
# Numbers of neighbour slots that a fit is compiled for: another one for so many batches, up to so many.  A shape
# costs seconds to compile, padding hundredths of a second in each batch.
BATCHES_PER_SHAPE = 256
SHAPES = 3


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


def collated(
    members: Sequence[Neighbourhood], n_species: int, slots: tuple[int, ...], places: int
) -> Batch:
    """Batch of the shape that `batches` gave its group."""
    return collate(members, n_species, slots=slots, atoms=places, structures=BATCH_ATOMS)
