"""The fast path: energies, forces and stress from a mean in closed form, jitted on padded shapes.

The mean is one function of an environment's features, a sum over environments (`centres.py`) or, where that is
cheaper, a polynomial (`collapsed.py`); forces and stress are one reverse pass.  Atoms are taken in chunks that stay in
cache.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gpjaxpot.covariance.blocks import VOIGT
from gpjaxpot.descriptors.staged import expand, pullback
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.collapsed import Collapsed
from gpjaxpot.potential.repulsion import Repulsion
from gpjaxpot.structures.batch import Batch, Neighbourhood, atom_bucket, collate, slot_bucket
from gpjaxpot.structures.batch import neighbourhood as find
from gpjaxpot.structures.structure import Structure

CHUNK = 32


class Evaluated(eqx.Module):
    """Mean of a batch: per-atom energies, forces [3, atoms], and ∂E/∂ε [6, structures]."""

    energies: Float[Array, " atoms"]
    forces: Float[Array, "3 atoms"]
    virial: Float[Array, "6 structures"]


@jax.jit  # not filter_jit: all leaves are arrays, and a call costs a tenth of a small prediction less
def evaluate(
    kernel: EnergyKernel, mean: Centres | Collapsed, batch: Batch, repulsion: Repulsion | None = None
) -> Evaluated:
    """Energies, forces and strain derivatives of all structures in `batch`."""
    r = batch.displacements().astype(mean.dtype)
    n = batch.n_atoms
    if n > CHUNK and n % CHUNK == 0:
        split = lambda x: jnp.moveaxis(x.reshape(*x.shape[:-1], -1, CHUNK), -2, 0)  # noqa: E731
        arguments = (split(r), split(batch.mask), split(batch.species), split(batch.atom_mask))
        energies, slopes = jax.lax.map(
            lambda x: _chunk(kernel, mean, batch.slots, *x), arguments
        )
        energies = energies.reshape(n)
        slopes = jnp.moveaxis(slopes, 0, -2).reshape(r.shape)
    else:
        energies, slopes = _chunk(
            kernel, mean, batch.slots, r, batch.mask, batch.species, batch.atom_mask
        )
    if repulsion is not None:
        energies, slopes = repulsion.add(energies, slopes, r, batch)
    virial = jnp.einsum("bka,cka->bca", r, slopes)
    sym = jnp.stack([0.5 * (virial[i, j] + virial[j, i]) for i, j in VOIGT])
    owner, count = batch.owner, batch.n_structures + 1
    per_structure = jax.vmap(lambda v: jax.ops.segment_sum(v, owner, count)[:-1])(sym)
    return Evaluated(energies, batch.gather_forces(slopes), per_structure)


def _chunk(kernel, mean, slots, r, mask, species, real):
    """Energies of some atoms, and the derivative of their sum by their displacements."""
    parts = [expand(t.descriptor, r, mask, species, slots) for t in kernel.terms]
    energies, by_features = mean.energies_and_slopes(kernel, tuple(e.features for e in parts), species)
    slopes = jnp.zeros_like(r)
    for term, e, g in zip(kernel.terms, parts, by_features, strict=True):
        slopes = slopes + pullback(term.descriptor, e, g, slots)
    return energies * real, jnp.where(mask, slopes, 0.0)


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

    def batch(self, structure: Structure) -> Batch:
        """Return the padded batch of `structure`."""
        if self._found is not None and self._batch is not None and self._near(structure):
            positions = structure.positions
            if len(structure) < self._batch.n_atoms:
                positions = np.zeros((self._batch.n_atoms, 3))
                positions[: len(structure)] = structure.positions
            return replace(self._batch, positions=jnp.asarray(positions))
        found = find(structure, self.kernel.species, self.reach)
        self.searches += 1
        need = tuple(slot_bucket(c) for c in found.most_neighbours(len(self.kernel.species)))
        self._slots = tuple(max(a, b) for a, b in zip(need, self._slots, strict=True))
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
        if not (
            np.array_equal(old.numbers, structure.numbers)
            and np.array_equal(old.cell, structure.cell)
        ):
            return False
        moved = np.sum((structure.positions - old.positions) ** 2, axis=1).max()
        return bool(moved < (0.5 * self.skin) ** 2)
