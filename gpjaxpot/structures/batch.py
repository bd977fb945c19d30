"""Structures padded to one shape, with the neighbours of each atom in a dense table.

The atoms axis comes last in every per-pair array: on a CPU the innermost loop then runs over atoms,
without a gap, and on a GPU over threads.  Neighbour slots are grouped by species, so that the species
of a neighbour is known from its slot when a program is compiled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gpjaxpot.errors import InputError
from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.pairs import Pairs, find_pairs
from gpjaxpot.structures.structure import Structure

# Sizes that shapes are padded to: each distinct shape costs a compilation.
ATOM_BUCKETS = (1, 4, 8, 16, 24, 32, 48, 64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 1024)
SLOT_STEP = 4


class Batch(eqx.Module):
    """One or several structures, concatenated and padded to `atoms` places and `slots` neighbours.

    Padding atoms have ``atom_mask`` False and owner ``n_structures`` (one past the last structure);
    padding slots have ``mask`` False and point at their own centre.
    """

    positions: Float[Array, "atoms 3"]
    cells: Float[Array, "structures 3 3"]
    strain: Float[Array, "structures 3 3"]
    volumes: Float[Array, " structures"]
    species: Int[Array, " atoms"]
    owner: Int[Array, " atoms"]
    atom_mask: Bool[Array, " atoms"]
    others: Int[Array, "slots atoms"]
    shifts: Float[Array, "3 slots atoms"]
    mask: Bool[Array, "slots atoms"]
    reverse: Int[Array, "slots atoms"]
    """Flat place slot × atoms + atom of the pair that leads back; padding slots point at themselves."""
    slots: tuple[int, ...] = eqx.field(static=True)
    """Number of neighbour slots of each species; their sum is the slots axis."""

    @property
    def n_structures(self) -> int:
        """Number of structures, padding apart."""
        return self.cells.shape[0]

    @property
    def n_atoms(self) -> int:
        """Number of places for atoms, padding included."""
        return self.positions.shape[0]

    def gather_forces(
        self, by_displacement: Float[Array, "*rest slots atoms"]
    ) -> Float[Array, "*rest atoms"]:
        """Minus the derivative by each atom's position, from that by each displacement."""
        back = by_displacement.reshape(*by_displacement.shape[:-2], -1)[..., self.reverse]
        return jnp.sum(by_displacement, axis=-2) - jnp.sum(
            jnp.where(self.mask, back, 0.0), axis=-2
        )

    def displacements(self) -> Float[Array, "3 slots atoms"]:
        """Vectors (Å) from each centre to its neighbours, under the strain of its structure."""
        owner = jnp.minimum(self.owner, self.n_structures - 1)
        cells = self.cells[owner]
        offset = jnp.einsum("ska,asb->bka", self.shifts, cells)
        plain = jnp.moveaxis(self.positions[self.others], 2, 0) + offset - self.positions.T[:, None]
        strained = plain + jnp.einsum("ska,asb->bka", plain, self.strain[owner])
        # Padding slots lie on their centre; they are moved away so that roots and powers of their
        # length are finite in every derivative.
        return jnp.where(self.mask, strained, jnp.ones(3)[:, None, None].astype(plain.dtype))


# One program: each of its dozen operations would else be compiled, or loaded, by itself.
displacements = jax.jit(Batch.displacements)


@dataclass(frozen=True)
class Neighbourhood:
    """A structure with its pairs and the indices of its species, ready to be padded."""

    structure: Structure
    pairs: Pairs
    species: Int[np.ndarray, " atoms"]

    def most_neighbours(self, n_species: int) -> tuple[int, ...]:
        """Largest number of neighbours of each species that an atom of the structure has."""
        n = len(self.species)
        flat = self.species[self.pairs.others] * n + self.pairs.centres
        counts = np.bincount(flat, minlength=n_species * n).reshape(n_species, n)
        return tuple(int(c) for c in counts.max(axis=1))


def species_indices(structure: Structure, species: Sequence[int]) -> Int[np.ndarray, " atoms"]:
    """Return the place of each atom's element in `species`.

    Raises:
        InputError: for an element that is not among `species`.
    """
    known = np.asarray(species)
    unknown = sorted(set(structure.numbers.tolist()) - set(known.tolist()))
    if unknown:
        raise InputError(
            f"the structure has species {', '.join(symbol(z) for z in unknown)}, the model knows "
            f"{', '.join(symbol(int(z)) for z in known)}: refit with it, or drop the structure"
        )
    return np.argmax(structure.numbers[:, None] == known, axis=1)


def neighbourhood(structure: Structure, species: Sequence[int], cutoff: float) -> Neighbourhood:
    """Find the neighbours of every atom of `structure` within `cutoff` (Å)."""
    indices = species_indices(structure, species)
    return Neighbourhood(structure, find_pairs(structure, cutoff), indices)


def slot_bucket(count: int) -> int:
    """Round a number of neighbours up to a multiple of four (of a sixteenth of it to an eighth, when large)."""
    # An absent species keeps a few empty slots: arrays without elements have no well-defined products.
    count = max(int(count), 1)
    step = max(SLOT_STEP, 2 ** (count.bit_length() - 4))
    return -(-count // step) * step


def atom_bucket(count: int) -> int:
    """Round a number of atoms up to the next size of `ATOM_BUCKETS` (beyond it, multiples of 512)."""
    for size in ATOM_BUCKETS:
        if count <= size:
            return size
    return -(-count // 512) * 512


def collate(
    items: Sequence[Neighbourhood],
    n_species: int,
    *,
    slots: tuple[int, ...] | None = None,
    atoms: int | None = None,
    structures: int | None = None,
) -> Batch:
    """Pad `items` into one batch; sizes not given are the smallest buckets that hold them.

    Raises:
        InputError: when a given size is too small.
    """
    need = tuple(
        max(c) for c in zip(*(item.most_neighbours(n_species) for item in items), strict=True)
    )
    slots = tuple(slot_bucket(c) for c in need) if slots is None else slots
    total = sum(len(item.structure) for item in items)
    atoms = atom_bucket(total) if atoms is None else atoms
    n_structures = len(items) if structures is None else structures
    if total > atoms or len(items) > n_structures or any(a > b for a, b in zip(need, slots, strict=True)):
        raise InputError(
            f"a batch of {total} atoms with {need} neighbours does not fit {atoms} places and {slots} slots"
        )
    table = _Table(atoms, slots, n_structures)
    for item in items:
        table.add(item)
    return table.batch()


class _Table:
    """The padded arrays while they are being filled."""

    def __init__(self, atoms: int, slots: tuple[int, ...], structures: int):
        width = sum(slots)
        self.slots = slots
        self.positions = np.zeros((atoms, 3))
        self.species = np.zeros(atoms, np.int32)
        self.owner = np.full(atoms, structures, np.int32)
        self.others = np.tile(np.arange(atoms, dtype=np.int32), (width, 1))
        self.shifts = np.zeros((3, width, atoms))
        self.mask = np.zeros((width, atoms), bool)
        self.reverse = np.arange(width * atoms, dtype=np.int32).reshape(width, atoms)
        self.cells = np.tile(np.eye(3), (structures, 1, 1))
        self.volumes = np.full(structures, np.nan)
        self.atoms_used = 0
        self.structures_used = 0

    def add(self, item: Neighbourhood) -> None:
        """Fill in the next structure."""
        first, n = self.atoms_used, len(item.structure)
        here = slice(first, first + n)
        self.positions[here] = item.structure.positions
        self.species[here] = item.species
        self.owner[here] = self.structures_used
        self.cells[self.structures_used] = item.structure.cell
        volume = item.structure.volume
        self.volumes[self.structures_used] = np.nan if volume is None else volume
        places = np.zeros(len(item.pairs.centres), np.int64)
        start = 0
        for s, width in enumerate(self.slots):
            chosen = item.species[item.pairs.others] == s
            centres = item.pairs.centres[chosen]
            # Pairs are sorted by centre: the slot is the place within the run of equal centres.
            runs = np.searchsorted(centres, np.arange(n))
            slot = start + np.arange(len(centres)) - runs[centres]
            self.others[slot, first + centres] = first + item.pairs.others[chosen]
            self.shifts[:, slot, first + centres] = item.pairs.shifts[chosen].T
            self.mask[slot, first + centres] = True
            places[chosen] = slot * len(self.owner) + first + centres
            start += width
        self.reverse.reshape(-1)[places] = places[item.pairs.reverse]
        self.atoms_used += n
        self.structures_used += 1

    def batch(self) -> Batch:
        """Hand over what was filled in."""
        arrays = {
            "positions": self.positions,
            "cells": self.cells,
            "strain": np.zeros_like(self.cells),
            "volumes": self.volumes,
            "species": self.species,
            "owner": self.owner,
            "atom_mask": self.owner < len(self.volumes),
            "others": self.others,
            "shifts": self.shifts,
            "mask": self.mask,
            "reverse": self.reverse,
        }
        return Batch(**jax.device_put(arrays), slots=self.slots)  # one transfer, not one for each
