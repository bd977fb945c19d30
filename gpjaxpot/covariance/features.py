"""Feature vectors of the environments in a batch, under each term of a kernel."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.projected_moves import projected_moves, suits
from gpjaxpot.descriptors.coefficient_moves import CoefficientMoves, coefficient_moves
from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.descriptors.staged import Expansion, expand, project_jacobian, spectrum_jacobian
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.linalg.products import on_host
from gpjaxpot.structures.batch import Batch, displacements

# Atoms whose derivatives are made at once: a few megabytes.
CHUNK = 8


class Environments(eqx.Module):
    """A set of environments: their vectors under each term (as columns) and their species indices."""

    features: tuple[Float[AnyArray, "_ environments"], ...]
    species: Int[AnyArray, " environments"]

    def __len__(self) -> int:
        """Return the number of environments."""
        return self.species.shape[0]

    def take(self, chosen: Int[AnyArray, " chosen"] | slice) -> "Environments":
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


def made_environments(kernel: EnergyKernel, batch: Batch) -> Environments:
    """`environments` by a compiled program, on the host: kernels that differ in their projections share it."""
    made, kinds = _whole_environments(_unprojected(kernel), batch), np.asarray(batch.species)
    features = tuple(
        _projected(t.descriptor, np.asarray(f), kinds) for t, f in zip(kernel.terms, made.features, strict=True)
    )
    return Environments(features, batch.species)


_whole_environments = eqx.filter_jit(environments)


def _unprojected(kernel: EnergyKernel) -> EnergyKernel:
    """The kernel on whole vectors: a projection is no reason to compile what does not depend on it."""

    def projections(k: EnergyKernel) -> list:
        return [t.descriptor.projection for t in k.terms]

    nothing = [None for _ in kernel.terms]
    return eqx.tree_at(projections, kernel, nothing, is_leaf=lambda x: x is None)


def _projected(
    soap: SOAP, vectors: Float[np.ndarray, "spectrum atoms"], kinds: Int[np.ndarray, " atoms"]
) -> Float[np.ndarray, "features atoms"]:
    """`SOAP.project`, on the host."""
    if soap.projection is None:
        return vectors
    features = np.zeros((soap.n_features, vectors.shape[1]))
    for s in np.unique(kinds):
        own = kinds == s
        features[:, own] = np.asarray(soap.projection)[s].T @ vectors[:, own]
    return features


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
    if on_host(batch.mask, batch.positions):
        return _stage_on_host(kernel, batch)
    features, moves = [], []
    for term, unprojected in zip(kernel.terms, _unprojected(kernel).terms, strict=True):
        soap = term.descriptor
        spectrum, full = _some(unprojected.descriptor, batch.slots, displacements(batch), batch.mask, batch.species)
        whole = full if soap.projection is None else project_jacobian(soap, full, batch.species)
        features.append(soap.project(spectrum, batch.species))
        moves.append(jnp.moveaxis(whole, 0, -1))
    return Stage(tuple(features), tuple(moves))


def _stage_on_host(kernel: EnergyKernel, batch: Batch) -> Stage:
    """`stage`, some atoms after the others: what is made of them is turned, or projected, while it is in cache."""
    arrays = displacements(batch), batch.mask, batch.species, batch.atom_mask
    r, mask, species, real = (np.asarray(a) for a in arrays)
    unprojected = _unprojected(kernel)
    features = [np.zeros((t.descriptor.n_features, batch.n_atoms)) for t in kernel.terms]
    moves = [np.zeros((*r.shape, t.descriptor.n_features)) for t in kernel.terms]
    # Species after species, so that the directions of one stay in cache.
    places = np.flatnonzero(real)
    places = places[np.argsort(species[places], kind="stable")]
    width = min(CHUNK, batch.n_atoms)
    for start in range(0, len(places), width):
        own = places[start : start + width]
        # One shape for all: the last ones are filled up with some again.
        shown = np.resize(own, width)
        some, kinds = (batch.slots, r[..., shown], mask[:, shown], species[shown]), species[own]
        for term, whole, f, m in zip(kernel.terms, unprojected.terms, features, moves, strict=True):
            soap = term.descriptor
            if suits(soap):
                made = _some_coefficients(whole.descriptor, *some)
                f[:, own] = _projected(soap, np.asarray(made.spectrum)[:, : len(own)], kinds)
                projected_moves(soap, made, f, species, own, m)
                continue
            spectrum, jacobian = (np.asarray(x) for x in _some(whole.descriptor, *some))
            f[:, own] = _projected(soap, spectrum[:, : len(own)], kinds)
            for s in np.unique(kinds):
                of_kind = np.flatnonzero(kinds == s)
                turned = jacobian[..., slice(0, width) if len(of_kind) == width else of_kind]
                turned = turned.reshape(len(jacobian), -1).T
                if soap.projection is not None:
                    turned = turned @ np.asarray(soap.projection)[s]
                m[:, :, own[of_kind]] = turned.reshape(*r.shape[:2], -1, soap.n_features)
    return Stage(tuple(features), tuple(moves))


@partial(jax.jit, static_argnums=1)
def _some(soap: SOAP, slots: tuple[int, ...], r: Array, mask: Array, species: Array) -> tuple[Array, Array]:
    """Spectra of some atoms, and their derivatives."""
    made = expand(soap, r, mask, species, slots)
    return made.spectrum, spectrum_jacobian(soap, made, slots)


@partial(jax.jit, static_argnums=1)
def _some_coefficients(
    soap: SOAP, slots: tuple[int, ...], r: Array, mask: Array, species: Array
) -> CoefficientMoves:
    """Spectra of some atoms, and the moves of their coefficients."""
    return coefficient_moves(soap, r, mask, species, slots)


def expansions(kernel: EnergyKernel, batch: Batch) -> tuple[Expansion, ...]:
    """Features with the parts that their derivatives need, for each term."""
    r = batch.displacements()
    return tuple(
        expand(t.descriptor, r, batch.mask, batch.species, batch.slots) for t in kernel.terms
    )
