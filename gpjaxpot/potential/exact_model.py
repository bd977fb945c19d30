"""An exact posterior together with the structures that it was conditioned on."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import Environments, Stage, environments, join, stage
from gpjaxpot.covariance.linearised import Linearised, covariance, linearise
from gpjaxpot.covariance.rows import inducing_rows
from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.mixture import Mixture
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.cross import Cross
from gpjaxpot.structures.batch import Batch, collate, neighbourhood, slot_bucket
from gpjaxpot.structures.structure import Structure

block = eqx.filter_jit(covariance)
_linearise = eqx.filter_jit(linearise)


class ExactModel(eqx.Module):
    """Training structures, which of their [E | F | stress] were observed, and the posterior."""

    structures: tuple[Structure, ...]
    places: tuple[Int[AnyArray, "_"], ...]
    posterior: ExactPosterior | Mixture

    def batches(self, kernel: EnergyKernel) -> list[Batch]:
        """One padded batch for each training structure."""
        return one_by_one(kernel, self.structures)

    def centres(self, kernel: EnergyKernel) -> Centres:
        """All training environments with the coefficients of the data folded in."""
        parts, values, gradients, start = [], [], [], 0
        for structure, places, batch in zip(
            self.structures, self.places, self.batches(kernel), strict=True
        ):
            n = len(structure)
            alpha = np.zeros(1 + 3 * batch.n_atoms + 6)
            used = padded_places(places, n, batch.n_atoms)
            alpha[used] = np.asarray(self.posterior.coefficients)[start : start + len(places)]
            start += len(places)
            here, along = _fold(kernel, batch, jnp.asarray(alpha))
            parts.append(here.take(jnp.arange(n)))
            values.append(jnp.full(n, alpha[0]))
            gradients.append(tuple(g[:, :n] for g in along))
        joined = join(parts)
        folded = tuple(jnp.concatenate(g, axis=1) for g in zip(*gradients, strict=True))
        return Centres(joined.features, joined.species, jnp.concatenate(values), folded)

    def cross(self, kernel: EnergyKernel, batch: Batch, staged: Stage | None = None) -> Cross:
        """Prior covariances of everything in a one-structure batch with all training data."""
        here = linear(kernel, batch, staged)
        local = Environments(here.features, here.species)
        joint, energies = [], []
        for structure, places, other in zip(
            self.structures, self.places, self.batches(kernel), strict=True
        ):
            used = padded_places(places, len(structure), other.n_atoms)
            stage_of_other = stage(kernel, other)
            joint.append(block(kernel, here, linear(kernel, other, stage_of_other))[:, used])
            rows = inducing_rows(kernel, other, local, stage_of_other)
            forces = jnp.moveaxis(rows.forces, 0, 1).reshape(3 * other.n_atoms, -1)
            stacked = jnp.concatenate([rows.energy, forces, rows.stress[:, 0]])
            energies.append(stacked[used].T * batch.atom_mask[:, None])
        total = jnp.concatenate(joint, axis=1)
        forces = total[1:-6].reshape(batch.n_atoms, 3, -1)
        return Cross(total[:1], jnp.concatenate(energies, axis=1), forces, total[-6:])


def linear(kernel: EnergyKernel, batch: Batch, staged: Stage | None = None) -> Linearised:
    """Linearise a batch of one structure; features and derivatives are staged outside the program, which is faster."""
    return _linearise(kernel, batch, stage(kernel, batch) if staged is None else staged)


def one_by_one(kernel: EnergyKernel, structures: tuple[Structure, ...]) -> list[Batch]:
    """Batches of single structures, padded to common numbers of neighbours: few shapes to compile."""
    n_species = len(kernel.species)
    found = [neighbourhood(s, kernel.species, kernel.reach) for s in structures]
    need = [f.most_neighbours(n_species) for f in found]
    slots = tuple(slot_bucket(max(c)) for c in zip(*need, strict=True))
    return [collate([f], n_species, slots=slots) for f in found]


def padded_places(
    places: Int[AnyArray, " data"], n_atoms: int, padded: int
) -> Int[AnyArray, " data"]:
    """Places in [E | F | stress] of a structure after padding to `padded` atoms."""
    return np.where(places > 3 * n_atoms, places + 3 * (padded - n_atoms), places)


@eqx.filter_jit
def _fold(
    kernel: EnergyKernel, batch: Batch, alpha: Float[AnyArray, " observables"]
) -> tuple[Environments, tuple[Float[AnyArray, "_ atoms"], ...]]:
    """Environments of a training structure, and Σ alpha · direction on the features of each."""
    n = 3 * batch.n_atoms
    stress = jnp.where(alpha[1 + n :] == 0, 0.0, alpha[1 + n :] / batch.volumes[0])
    (xx, yy, zz, yz, xz, xy) = stress
    # Off-diagonal stresses are ∂/∂ε of a symmetric strain: half of each of the two entries.
    strain = jnp.array([[xx, xy / 2, xz / 2], [xy / 2, yy, yz / 2], [xz / 2, yz / 2, zz]])
    moves = -alpha[1 : 1 + n].reshape(-1, 3)

    def features(positions: Array, strain: Array) -> tuple[Array, ...]:
        moved = eqx.tree_at(lambda b: (b.positions, b.strain), batch, (positions, strain))
        return environments(kernel, moved).features

    here, along = jax.jvp(
        features, (batch.positions, batch.strain), (moves, strain[None].astype(batch.strain.dtype))
    )
    return Environments(here, batch.species), along


