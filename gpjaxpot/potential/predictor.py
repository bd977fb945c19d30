r"""The fast path: energies, forces and stress from contracted coefficients, jitted on padded shapes.

The data are folded into their environments once: with values a_m and gradients v_m of an environment q_m,

    $E = \sum_{im} C_{im} [a_m κ(p_i, q_m) + v_m \cdot \partial_q κ(p_i, q_m)]$,

two matrix products; forces and stress are one reverse pass.  Atoms are taken in chunks that stay in cache.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gpjaxpot.covariance.blocks import VOIGT
from gpjaxpot.descriptors.staged import expand, pullback
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.repulsion import Repulsion
from gpjaxpot.structures.batch import Batch, Neighbourhood, atom_bucket, collate, slot_bucket
from gpjaxpot.structures.batch import neighbourhood as find
from gpjaxpot.structures.structure import Structure

CHUNK = 32


class Centres(eqx.Module):
    """Environments with the coefficients that the data left on them."""

    features: tuple[Float[Array, "_ centres"], ...]
    species: Int[Array, " centres"]
    values: Float[Array, " centres"]
    gradients: tuple[Float[Array, "_ centres"], ...] | None = None


def local_energies(
    kernel: EnergyKernel,
    centres: Centres,
    features: tuple[Float[Array, "_ atoms"], ...],
    species: Int[Array, " atoms"],
) -> Float[Array, " atoms"]:
    """Mean energy of each environment, eV, without the energy per species."""
    total = jnp.zeros(species.shape[0], features[0].dtype)
    coupling = kernel.coupling(centres.species, species).astype(total.dtype)
    for i, term in enumerate(kernel.terms):
        q, p, k = centres.features[i], features[i], term.kernel
        if centres.gradients is None:
            gram = k.gram(q, p)
            total = total + centres.values @ (coupling * gram)
        elif k.cosine:
            t = q.T @ p
            value, slope = jax.jvp(k.profile, (t,), (jnp.ones_like(t),))
            along = centres.gradients[i].T @ p
            total = total + jnp.sum(coupling * (centres.values[:, None] * value + slope * along), 0)
        else:
            gram, along = jax.jvp(lambda q, p=p, k=k: k.gram(q, p), (q,), (centres.gradients[i],))
            total = total + jnp.sum(coupling * (centres.values[:, None] * gram + along), 0)
    return total


class Evaluated(eqx.Module):
    """Mean of a batch: per-atom energies, forces [3, atoms], and ∂E/∂ε [6, structures]."""

    energies: Float[Array, " atoms"]
    forces: Float[Array, "3 atoms"]
    virial: Float[Array, "6 structures"]


@jax.jit  # not filter_jit: all leaves are arrays, and a call costs a tenth of a small prediction less
def evaluate(
    kernel: EnergyKernel, centres: Centres, batch: Batch, repulsion: Repulsion | None = None
) -> Evaluated:
    """Energies, forces and strain derivatives of all structures in `batch`."""
    r = batch.displacements().astype(centres.values.dtype)
    n = batch.n_atoms
    if n > CHUNK and n % CHUNK == 0:
        split = lambda x: jnp.moveaxis(x.reshape(*x.shape[:-1], -1, CHUNK), -2, 0)  # noqa: E731
        arguments = (split(r), split(batch.mask), split(batch.species), split(batch.atom_mask))
        energies, slopes = jax.lax.map(
            lambda x: _chunk(kernel, centres, batch.slots, *x), arguments
        )
        energies = energies.reshape(n)
        slopes = jnp.moveaxis(slopes, 0, -2).reshape(r.shape)
    else:
        energies, slopes = _chunk(
            kernel, centres, batch.slots, r, batch.mask, batch.species, batch.atom_mask
        )
    if repulsion is not None:
        energies, slopes = repulsion.add(energies, slopes, r, batch)
    virial = jnp.einsum("bka,cka->bca", r, slopes)
    sym = jnp.stack([0.5 * (virial[i, j] + virial[j, i]) for i, j in VOIGT])
    owner, count = batch.owner, batch.n_structures + 1
    per_structure = jax.vmap(lambda v: jax.ops.segment_sum(v, owner, count)[:-1])(sym)
    return Evaluated(energies, batch.gather_forces(slopes), per_structure)


def _chunk(kernel, centres, slots, r, mask, species, real):
    """Energies of some atoms, and the derivative of their sum by their displacements."""
    parts = [expand(t.descriptor, r, mask, species, slots) for t in kernel.terms]
    energies, back = jax.vjp(
        lambda f: local_energies(kernel, centres, f, species) * real,
        tuple(e.features for e in parts),
    )
    (by_features,) = back(jnp.ones_like(energies))
    slopes = jnp.zeros_like(r)
    for term, e, g in zip(kernel.terms, parts, by_features, strict=True):
        slopes = slopes + pullback(term.descriptor, e, g, slots)
    return energies, jnp.where(mask, slopes, 0.0)


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
