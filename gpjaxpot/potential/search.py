r"""Learning the hyperparameters of the descriptors, by the gradient of an evidence that reaches through them.

The evidence is that of a sparse model on a sample of the structures, as one JAX program of the hyperparameters: the
neighbours' positions stay, features, their derivatives and all covariances follow.  Each hyperparameter is searched
in its logarithm, between bounds.
"""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import Environments, environments, stage
from gpjaxpot.covariance.rows import inducing_rows
from gpjaxpot.gp.evidence import sparse_log_marginal_likelihood
from gpjaxpot.gp.inducing import select
from gpjaxpot.kernels import EnergyKernel, Scaled, Term
from gpjaxpot.potential.batching import BATCH_ATOMS
from gpjaxpot.potential.training import Observations
from gpjaxpot.structures.batch import Batch, Neighbourhood, atom_bucket, collate, slot_bucket

# A row that is not there: it adds nothing to any evidence (log 2πσ² = 0).
NO_ROW = 1.0 / (2.0 * np.pi)
# Share of K_uu's scale that is added to its diagonal: the search moves through kernels of any condition.
JITTER = 1e-10


class Sample(eqx.Module):
    """Batches of one shape, stacked, with their energies and forces, and which of their atoms are inducing."""

    batches: Batch
    energies: Float[AnyArray, "batches structures"]
    forces: Float[AnyArray, "batches 3 atoms"]
    energy_factor: Float[AnyArray, "batches structures"]
    """σ of each energy in units of its level; 0 where there is no energy."""
    forces_factor: Float[AnyArray, "batches 3 atoms"]
    inducing: Int[AnyArray, " inducing"]
    """Flat places (batch, atom) of the inducing environments."""


def with_values(kernel: EnergyKernel, values: dict[str, Array]) -> EnergyKernel:
    """Kernel with hyperparameters replaced: "0.sigma" is that of the first descriptor, "1.weight" a factor on the
    second term's kernel, "similarity" the coupling of unlike species.
    """  # fmt: skip
    terms = []
    for i, term in enumerate(kernel.terms):
        soap, k = term.descriptor, term.kernel
        for name in ("cutoff", "sigma", "radial_scale", "radial_exponent", "cutoff_width"):
            value = values.get(f"{i}.{name}")
            if value is not None:
                soap = eqx.tree_at(lambda s, name=name: getattr(s, name), soap, value)
        if f"{i}.weight" in values:
            k = Scaled(k, values[f"{i}.weight"])
        terms.append(Term(soap, k))
    similarity = kernel.similarity
    if "similarity" in values:
        n, c = len(kernel.species), values["similarity"]
        similarity = (1.0 - c) * jnp.eye(n) + c
    return EnergyKernel(tuple(terms), similarity)


def sample_evidence(
    kernel: EnergyKernel, sample: Sample, levels: dict[str, Float[Array, ""]]
) -> Float[Array, ""]:
    """Evidence of the sample's energies and forces, for signal variance and noise levels `levels`."""
    own = inducing_environments(kernel, sample)
    k_uu = kernel.gram(own.features, own.features, own.species, own.species)

    @jax.checkpoint
    def rows(batch: Batch) -> Float[Array, "rows inducing"]:
        made = inducing_rows(kernel, batch, own, stage(kernel, batch))
        return jnp.concatenate([made.energy, made.forces.reshape(-1, len(own))])

    k_fu = jax.lax.map(rows, sample.batches).reshape(-1, len(own))
    n = sample.energies.shape[0]
    targets = jnp.concatenate([sample.energies, sample.forces.reshape(n, -1)], 1).reshape(-1)
    noise = jnp.concatenate(
        [sample.energy_factor * levels["energy"], (sample.forces_factor * levels["forces"]).reshape(n, -1)], 1
    ).reshape(-1)
    there = noise > 0
    variance = levels["variance"]
    return sparse_log_marginal_likelihood(
        variance * k_uu,
        variance * jnp.where(there[:, None], k_fu, 0.0),
        jnp.where(there, noise**2, NO_ROW),
        jnp.where(there, targets, 0.0),
        JITTER,
    )


def inducing_environments(kernel: EnergyKernel, sample: Sample) -> Environments:
    """The sample's inducing environments, as the kernel sees them."""
    # Every batch's features are cheap beside their derivatives: all are made, few are taken.
    made = _features(kernel, sample.batches)
    features = tuple(jnp.moveaxis(f, 0, 1).reshape(f.shape[1], -1)[:, sample.inducing] for f in made.features)
    return Environments(features, made.species.reshape(-1)[sample.inducing])


def draw(
    kernel: EnergyKernel,
    found: Sequence[Neighbourhood],
    data: Sequence[Observations],
    atoms: int,
) -> Sample:
    """Take structures of about `atoms` atoms, the first that fit; half of their environments, drawn, are inducing.

    The draw is always the same: the evidence moves with it by more than with the hyperparameters near its maximum.
    Neighbours must reach as far as any cutoff that is tried.
    """
    n_species = len(kernel.species)
    chosen, total = [], 0
    for i, item in enumerate(found):
        n = len(item.structure)
        if len(data[i]) and n > 1 and (total + n <= atoms or not chosen):
            chosen.append(i)
            total += n
    places = atom_bucket(max(BATCH_ATOMS, *(len(found[i].structure) for i in chosen)))
    groups = _groups([len(found[i].structure) for i in chosen], places)
    slots = tuple(slot_bucket(max(c)) for c in zip(*(found[i].most_neighbours(n_species) for i in chosen), strict=True))
    structures = max(len(g) for g in groups)
    batches, columns = [], []
    for group in groups:
        members = [chosen[k] for k in group]
        items = [found[i] for i in members]
        batches.append(collate(items, n_species, slots=slots, atoms=places, structures=structures))
        columns.append(_labels(items, [data[i] for i in members], places, structures))

    stacked = jax.tree.map(lambda *b: jnp.stack([jnp.asarray(x) for x in b]), *batches)
    energies, energy_factor, forces, forces_factor = (jnp.asarray(np.stack(c)) for c in zip(*columns, strict=True))
    made = _features(kernel, stacked)
    vectors = np.concatenate([np.moveaxis(np.asarray(f), 1, 2).reshape(-1, f.shape[1]) for f in made.features], axis=1)
    kinds = np.asarray(made.species).reshape(-1)
    real = np.flatnonzero(np.asarray(stacked.atom_mask).reshape(-1))
    count = max(n_species, len(real) // 2)
    inducing = real[select(vectors[real], kinds[real], count, "leverage", 0)]
    return Sample(stacked, energies, forces, energy_factor, forces_factor, jnp.asarray(inducing))


@eqx.filter_jit
def _features(kernel: EnergyKernel, batches: Batch) -> Environments:
    return jax.lax.map(lambda one: environments(kernel, one), batches)


def _groups(sizes: list[int], places: int) -> list[list[int]]:
    groups, used = [], places
    for k in np.argsort(sizes, kind="stable")[::-1]:
        if used + sizes[k] > places:
            groups.append([])
            used = 0
        groups[-1].append(int(k))
        used += sizes[k]
    return groups


def _labels(
    found: Sequence[Neighbourhood], data: Sequence[Observations], atoms: int, structures: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    energies, energy_factor = np.zeros(structures), np.zeros(structures)
    forces, forces_factor = np.zeros((3, atoms)), np.zeros((3, atoms))
    first = 0
    for s, (item, o) in enumerate(zip(found, data, strict=True)):
        n = len(item.structure)
        is_energy, is_force = o.kind == 0, o.kind == 1
        if is_energy.any():
            energies[s], energy_factor[s] = o.targets[is_energy][0], o.sigma[is_energy][0]
        if is_force.any():
            forces[:, first : first + n] = o.targets[is_force].reshape(n, 3).T
            forces_factor[:, first : first + n] = o.sigma[is_force].reshape(n, 3).T
        first += n
    return energies, energy_factor, forces, forces_factor
