"""The fast path: energies, forces and stress from a mean in closed form, jitted on padded shapes.

The mean is one function of an environment's features, a sum over environments (`centres.py`) or, where that is
cheaper, a polynomial (`collapsed.py`); forces and stress are one reverse pass.  Atoms are taken in chunks that stay in
cache.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gpjaxpot.covariance.blocks import VOIGT
from gpjaxpot.descriptors.staged import expand, pullback
from gpjaxpot.devices import on_cpu
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.collapsed import Collapsed
from gpjaxpot.potential.fixed_energy import FixedEnergy
from gpjaxpot.structures.batch import Batch, Neighbourhood, atom_bucket, collate, slot_bucket
from gpjaxpot.structures.batch import neighbourhood as find
from gpjaxpot.structures.reference import EnergyReference
from gpjaxpot.structures.structure import Structure

# What the mean has beside the Gaussian process's.
Fixed = tuple[FixedEnergy, ...]
# Atoms evaluated at once: on a CPU few, so that they stay in cache; elsewhere enough to fill a card.
CHUNK = 64
CARD_CHUNK = 8192
# Where neighbours outgrow their slots, room for this share more of them is made: each shape is compiled.
MORE_SLOTS = 0.125


class Evaluated(eqx.Module):
    """Mean of a batch: per-atom energies, forces [3, atoms], and ∂E/∂ε [6, structures]."""

    energies: Float[Array, " atoms"]
    forces: Float[Array, "3 atoms"]
    virial: Float[Array, "6 structures"]


@jax.jit  # not filter_jit: all leaves are arrays, and a call costs a tenth of a small prediction less
def evaluate(
    kernel: EnergyKernel, mean: Centres | Collapsed, batch: Batch, fixed: Fixed = ()
) -> Evaluated:
    """Energies, forces and strain derivatives of all structures in `batch`."""
    r = batch.displacements().astype(mean.dtype)
    arguments = (r, batch.mask, batch.species, batch.atom_mask)
    # An accelerator's own choice for float32 keeps ten bits of each factor.
    with jax.default_matmul_precision("highest"):
        energies, slopes = _in_chunks(lambda *x: _chunk(kernel, mean, batch.slots, *x), arguments, batch.n_atoms)
    for term in fixed:
        energies, slopes = term.add(energies, slopes, r, batch)
    virial = jnp.einsum("bka,cka->bca", r, slopes)
    sym = jnp.stack([0.5 * (virial[i, j] + virial[j, i]) for i, j in VOIGT])
    owner, count = batch.owner, batch.n_structures + 1
    per_structure = jax.vmap(lambda v: jax.ops.segment_sum(v, owner, count)[:-1])(sym)
    return Evaluated(energies, batch.gather_forces(slopes), per_structure)


def _in_chunks(function: Callable[..., Any], arguments: tuple[Array, ...], n: int) -> tuple[Array, Array]:
    """`function` of arrays whose last axis are the `n` atoms, some atoms after the others."""
    chunks = -(-n // (CHUNK if on_cpu() else CARD_CHUNK))
    if chunks == 1:
        return function(*arguments)
    size = -(-n // (chunks * 8)) * 8
    spare = chunks * size - n

    def split(x: Array) -> Array:
        padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, spare)], mode="edge") if spare else x
        return jnp.moveaxis(padded.reshape(*x.shape[:-1], chunks, size), -2, 0)

    energies, slopes = jax.lax.map(lambda x: function(*x), jax.tree.map(split, arguments))
    slopes = jnp.moveaxis(slopes, 0, -2)
    return energies.reshape(-1)[:n], slopes.reshape(*slopes.shape[:-2], -1)[..., :n]


def _chunk(kernel, mean, slots, r, mask, species, real):
    """Energies of some atoms, and the derivative of their sum by their displacements."""
    parts = [expand(t.descriptor, r, mask, species, slots, written_out=True) for t in kernel.terms]
    energies, by_features = mean.energies_and_slopes(kernel, tuple(e.features for e in parts), species)
    slopes = jnp.zeros_like(r)
    for term, e, g in zip(kernel.terms, parts, by_features, strict=True):
        slopes = slopes + pullback(term.descriptor, e, g, slots)
    return energies * real, jnp.where(mask, slopes, 0.0)


def single(tree: Any) -> Any:
    """Cast all float64 arrays of a tree to float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_array(x) and x.dtype == jnp.float64 else x, tree)


@partial(jax.jit, static_argnums=0)
def evaluate_leaves(tree: Any, leaves: tuple[Any, ...]) -> tuple[Array, Array, Array]:
    """`evaluate` of the arguments with these leaves: to flatten them at every call takes longer than to start it."""
    mean = evaluate(*jax.tree.unflatten(tree, leaves))
    return mean.energies, mean.forces, mean.virial


class Bound:
    """The mean of a potential on one batch, its arguments flattened once, as a function of the positions alone."""

    def __init__(
        self, kernel: EnergyKernel, mean: Centres | Collapsed, fixed: Fixed, batch: Batch, dtype: str
    ):
        """Cast the model to `dtype`, and keep all leaves; positions are subtracted in float64 before they are cast."""
        self.made_of = (kernel, mean, batch, fixed)
        self.dtype = dtype
        if dtype == "float32":
            kernel, mean, fixed = single((kernel, mean, fixed))
        leaves, self.tree = jax.tree.flatten((kernel, mean, batch, fixed))
        place = next(i for i, leaf in enumerate(leaves) if leaf is batch.positions)
        self.before, self.after = tuple(leaves[:place]), tuple(leaves[place + 1 :])

    def belongs(
        self, kernel: EnergyKernel, mean: Centres | Collapsed, fixed: Fixed, batch: Batch, dtype: str
    ) -> bool:
        """Whether it was made of these very arguments."""
        same = all(a is b for a, b in zip(self.made_of, (kernel, mean, batch, fixed), strict=True))
        return same and self.dtype == dtype

    def __call__(self, positions: Float[np.ndarray, "atoms 3"]) -> tuple[np.ndarray, ...]:
        """Energies, forces [3, atoms] and strain derivatives [6, 1] in float64, with the atoms at `positions`."""
        leaves = (*self.before, positions, *self.after)
        return tuple(np.asarray(x, dtype=np.float64) for x in evaluate_leaves(self.tree, leaves))


class Neighbours:
    """Batches of single structures, reusing the neighbour list within a skin and the padded shape.

    A list found at cutoff + skin stays right until an atom has moved by half the skin.  Slots only grow, and
    places for atoms stay while at least half of them are used: dynamics compile once or twice, and a set of
    structures seldom.
    """

    def __init__(self, kernel: EnergyKernel, skin: float = 0.0):
        """Start without a list; `skin` in Å."""
        self.kernel = kernel
        self.reach = kernel.reach + skin
        self.skin = skin
        self.searches = 0
        self._found: Neighbourhood | None = None
        self._batch: Batch | None = None
        self._slots: tuple[int, ...] = (0,) * len(self.kernel.species)
        self._atoms = 0
        self._close: Neighbours | None = None
        self._bound: Bound | None = None
        self._per_species: tuple[EnergyReference, np.ndarray, np.ndarray] | None = None

    def mean(
        self,
        kernel: EnergyKernel,
        mean: Centres | Collapsed,
        fixed: Fixed,
        structure: Structure,
        dtype: str,
    ) -> tuple[np.ndarray, ...]:
        """What `Bound` gives of `structure`, padding included; what does not change is kept from call to call."""
        batch = self._listed(structure)
        if self._bound is None or not self._bound.belongs(kernel, mean, fixed, batch, dtype):
            self._bound = Bound(kernel, mean, fixed, batch, dtype)
        return self._bound(self._padded(structure, batch))

    def per_species(self, reference: EnergyReference, structure: Structure) -> Float[np.ndarray, " atoms"]:
        """Energies (eV) per species of the atoms, found once for the same atoms."""
        known = self._per_species
        if known is None or known[0] is not reference or known[1] is not structure.numbers:
            known = self._per_species = reference, structure.numbers, reference.energies(structure)
        return known[2]

    def structure(self, atoms: Any) -> Structure:
        """Return `ase.Atoms` as a `Structure`; after the first of the same atoms in the same cell, in less time."""
        last = None if self._found is None else self._found.structure
        if (
            last is not None
            and np.array_equal(atoms.numbers, last.numbers)
            and np.array_equal(atoms.cell, last.cell)
            and tuple(atoms.pbc) == last.pbc
        ):
            return last.moved_to(atoms.positions)
        return Structure.from_ase(atoms)

    def batch(self, structure: Structure) -> Batch:
        """Return the padded batch of `structure`."""
        batch = self._listed(structure)
        if self._found is None or self._found.structure is structure:
            return batch
        return replace(batch, positions=jnp.asarray(self._padded(structure, batch)))

    def _padded(self, structure: Structure, batch: Batch) -> Float[np.ndarray, "atoms 3"]:
        n = len(structure)
        if n == batch.n_atoms:
            return structure.positions
        positions = np.zeros((batch.n_atoms, 3))
        positions[:n] = structure.positions
        return positions

    def _listed(self, structure: Structure) -> Batch:
        """A batch whose list holds for `structure`; its positions may be those of an earlier call."""
        if self._batch is not None and self._near(structure):
            return self._batch
        found = find(structure, self.kernel.species, self.reach)
        self.searches += 1
        most = found.most_neighbours(len(self.kernel.species))
        more = MORE_SLOTS if any(self._slots) else 0.0
        self._slots = tuple(
            slots if 0 < slots >= count else slot_bucket(round((1.0 + more) * count))
            for count, slots in zip(most, self._slots, strict=True)
        )
        if not len(structure) <= self._atoms <= 2 * len(structure):
            self._atoms = atom_bucket(len(structure))
        self._found = found
        self._batch = collate([found], len(self.kernel.species), slots=self._slots, atoms=self._atoms)
        return self._batch

    def close(self, structure: Structure) -> Batch:
        """Return `structure` with the neighbours within the cutoff alone, for work that is costly for each pair."""
        if self.skin <= 0:
            return self.batch(structure)
        if self._close is None:
            self._close = Neighbours(self.kernel)
        return self._close.batch(structure)

    def _near(self, structure: Structure) -> bool:
        if self._found is None or self.skin <= 0:
            return False
        old = self._found.structure
        if len(old) != len(structure) or old.pbc != structure.pbc:
            return False
        same = old.numbers is structure.numbers and old.cell is structure.cell
        if not same and not (
            np.array_equal(old.numbers, structure.numbers)
            and np.array_equal(old.cell, structure.cell)
        ):
            return False
        moved = np.sum((structure.positions - old.positions) ** 2, axis=1).max()
        return bool(moved < (0.5 * self.skin) ** 2)
