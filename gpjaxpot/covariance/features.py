"""Feature vectors of the environments in a batch, under each term of a kernel."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.descriptors.staged import Expansion, expand, project_jacobian, spectrum_jacobian
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.linalg.products import first_axis_last, on_host
from gpjaxpot.structures.batch import Batch

# Atoms whose derivatives are made at once: a few megabytes.
CHUNK = 8


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
    if on_host(batch.mask, batch.positions) and all(t.descriptor.projection is not None for t in kernel.terms):
        return _stage_projected(kernel, batch)
    features, jacobians = _with_jacobians(kernel, batch)
    moves = []
    for term, full in zip(kernel.terms, jacobians, strict=True):
        soap = term.descriptor
        whole = full if soap.projection is None else project_jacobian(soap, full, batch.species)
        moves.append(first_axis_last(whole))
    return Stage(features, tuple(moves))


def _stage_projected(kernel: EnergyKernel, batch: Batch) -> Stage:
    """`stage` on the host: a chunk of atoms after the other, those of each species in one product."""
    species = np.asarray(batch.species)
    features, moves = [], []
    for term, made in zip(kernel.terms, _in_chunks(kernel, batch), strict=True):
        vectors, jacobians = (np.asarray(a) for a in made)  # chunks first, atoms last
        projection = np.asarray(term.descriptor.projection)
        width, inner = vectors.shape[2], jacobians.shape[2:4]
        out = np.zeros((*inner, len(species), projection.shape[2]))
        for c, full in enumerate(jacobians):
            kinds = species[c * width : (c + 1) * width]
            for s in np.unique(kinds):
                own = slice(0, width) if np.all(kinds == s) else np.flatnonzero(kinds == s)
                moved = full[..., own].reshape(len(full), -1).T @ projection[s]
                out[:, :, c * width : (c + 1) * width][:, :, own] = moved.reshape(*inner, -1, projection.shape[2])
        features.append(np.moveaxis(vectors, 0, 1).reshape(vectors.shape[1], -1))
        moves.append(out)
    return Stage(tuple(features), tuple(moves))


@eqx.filter_jit
def _in_chunks(kernel: EnergyKernel, batch: Batch) -> tuple[tuple[Array, Array], ...]:
    """Features and derivatives of the spectra under each term, in chunks of atoms: the first axis."""
    width = CHUNK if batch.n_atoms % CHUNK == 0 else batch.n_atoms
    arrays = (batch.displacements(), batch.mask, batch.species)
    split = tuple(jnp.moveaxis(x.reshape(*x.shape[:-1], -1, width), -2, 0) for x in arrays)

    def one(chunk: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], ...]:
        parts = [(t.descriptor, expand(t.descriptor, *chunk, batch.slots)) for t in kernel.terms]
        return tuple((e.features, spectrum_jacobian(soap, e, batch.slots)) for soap, e in parts)

    return jax.lax.map(one, split)


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
