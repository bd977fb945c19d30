"""Feature vectors of the environments in a batch, under each term of a kernel."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.descriptors.staged import Expansion, expand, project_jacobian, spectrum_jacobian
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.linalg.products import first_axis_last, on_host
from gpjaxpot.structures.batch import Batch


class Environments(eqx.Module):
    """A set of environments: their vectors under each term (as columns) and their species indices."""

    features: tuple[Float[AnyArray, "_ environments"], ...]
    species: Int[AnyArray, " environments"]

    def __len__(self) -> int:
        """Return the number of environments."""
        return self.species.shape[0]

    def take(self, chosen: Int[AnyArray, " chosen"]) -> "Environments":
        """Return the environments at the places `chosen`."""
        return Environments(tuple(f[:, chosen] for f in self.features), self.species[chosen])


def join(parts: list[Environments]) -> Environments:
    """Put sets of environments one after the other."""
    features = tuple(jnp.concatenate(f, axis=1) for f in zip(*(p.features for p in parts), strict=True))
    return Environments(features, jnp.concatenate([p.species for p in parts]))


def environments(kernel: EnergyKernel, batch: Batch) -> Environments:
    """Environments of all places of `batch`, padding included (mask it by ``batch.atom_mask``)."""
    r = batch.displacements()
    features = tuple(t.descriptor(r, batch.mask, batch.species, batch.slots) for t in kernel.terms)
    return Environments(features, batch.species)


def vector_rows(features: tuple[Float[AnyArray, "_ atoms"], ...], n: int) -> Float[np.ndarray, "n size"]:
    """Vectors of the first `n` environments, of all terms one after the other, one environment a row."""
    return np.concatenate([np.asarray(f)[:, :n].T for f in features], axis=1)


class Stage(eqx.Module):
    """Features of a batch and their derivatives by displacement, under each term: made once, used often."""

    features: tuple[Float[AnyArray, "_ atoms"], ...]
    moves: tuple[Float[AnyArray, "3 slots atoms _"], ...]
    """How the displacement of a pair, by x, y and z, moves the features of its centre, 1/Å; features last."""


def stage(kernel: EnergyKernel, batch: Batch) -> Stage:
    """Compute features and their derivatives at all places of `batch`; what padding slots hold is not used."""
    features, jacobians = _with_jacobians(kernel, batch)
    moves = []
    for term, full in zip(kernel.terms, jacobians, strict=True):
        soap = term.descriptor
        if soap.projection is None:
            moves.append(first_axis_last(full))
        elif on_host(full):
            moves.append(_projected(np.asarray(full), np.asarray(batch.species), np.asarray(soap.projection)))
        else:
            moves.append(first_axis_last(project_jacobian(soap, full, batch.species)))
    return Stage(features, tuple(moves))


def _projected(
    full: Float[np.ndarray, "spectrum 3 slots atoms"],
    species: Int[np.ndarray, " atoms"],
    projection: Float[np.ndarray, "species spectrum features"],
) -> Float[np.ndarray, "3 slots atoms features"]:
    """Derivatives of the features from those of the spectrum; the atoms of each species in one product."""
    out = np.zeros((*full.shape[1:], projection.shape[2]))
    for s, p in enumerate(projection):
        own = np.flatnonzero(species == s)
        if len(own):
            picked = full if len(own) == len(species) else full[..., own]
            out[:, :, own] = (picked.reshape(len(full), -1).T @ p).reshape(*picked.shape[1:], -1)
    return out


@eqx.filter_jit
def _with_jacobians(kernel: EnergyKernel, batch: Batch):
    parts = expansions(kernel, batch)
    jacobians = tuple(
        spectrum_jacobian(t.descriptor, e, batch.slots) for t, e in zip(kernel.terms, parts, strict=True)
    )
    return tuple(e.features for e in parts), jacobians


def expansions(kernel: EnergyKernel, batch: Batch) -> tuple[Expansion, ...]:
    """Features with the parts that their derivatives need, for each term."""
    r = batch.displacements()
    return tuple(
        expand(t.descriptor, r, batch.mask, batch.species, batch.slots) for t in kernel.terms
    )
