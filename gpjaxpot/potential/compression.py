r"""Fewer components for the same vectors: directions in which the training environments, and how they move, differ.

For each species the leading eigenvectors of $\sum_i w_i [p_i p_i^T + δ^2 \sum_r (\partial p_i/\partial r)(\partial
p_i/\partial r)^T]$: what a projection on them drops is the least share of vectors whose neighbours were displaced by δ.
Without the second term a few crystals at rest would seem to need a few components, and could not move.  Rare
environments, which a mean over all forgets, are weighed up until none is much worse off than the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import stage
from gpjaxpot.kernels.energy_kernel import EnergyKernel, Term
from gpjaxpot.potential.batching import batches, collated
from gpjaxpot.potential.settings import TOLERANCE
from gpjaxpot.structures.batch import Neighbourhood

Callback = Callable[[str, int, int], None]
# What may be dropped of the worst vector, as a multiple of the root mean square of all.
WORST = 4.0
ROUNDS = 4
# Displacement (Å) of one neighbour that must be seen as well as the vectors themselves.
DISPLACEMENT = 0.1
# Environments of each species that are looked at, at the most.
SAMPLED = 200
OF_ONE_BATCH = 20
# It must spare at least this share of the components: projecting costs, too.
LEAST_SPARED = 0.3
# Shorter vectors cost nothing to speak of.
SHORT = 100


@dataclass(frozen=True)
class Compressed:
    """A kernel whose vectors are projected, and what that drops."""

    kernel: EnergyKernel
    kept: int
    """Components of the species and descriptor that has the most."""
    dropped: float
    """Root mean square length of what is left out of a vector displaced by δ, the largest of all terms and species."""
    worst: float
    """The largest of one sampled environment."""


def compress(
    kernel: EnergyKernel,
    found: Sequence[Neighbourhood],
    wanted: int | None,
    seed: int,
    callback: Callback,
    most: int | None = None,
    tolerance: float = TOLERANCE,
) -> Compressed | None:
    """Project the vectors of each descriptor on `wanted` directions, or (None) on as many as lose little.

    What these leave out of vectors of length 1 is `tolerance` (root mean square), unless it takes more than `most`.
    None where nothing is gained or known: vectors are short, too few components would be
    spared, a descriptor is not of unit length, a kernel is a function of more than the product of two vectors, or a
    species does not occur.
    """
    if any(t.descriptor.dscribe or not t.kernel.cosine or t.descriptor.projection is not None for t in kernel.terms):
        return None
    whole = max(t.descriptor.n_spectrum for t in kernel.terms)
    if wanted is None and whole < SHORT:
        return None
    if len(np.unique(np.concatenate([f.species for f in found]))) < len(kernel.species):
        return None  # of a species that does not occur no direction is known
    samples = _sample(kernel, found, seed, callback)
    terms, kept, dropped, worst = [], 0, 0.0, 0.0
    for t, term in enumerate(kernel.terms):
        spectra = [_spectrum(*of[t], tolerance) for of in samples]
        counts = [
            min(_enough(values, tolerance), most or len(values)) if wanted is None else min(wanted, len(values))
            for values, _ in spectra
        ]
        kept = max(kept, *counts)
        # A species that needs fewer has zeros for the rest: all vectors have one length.
        places = np.arange(max(counts))
        own = [np.where(places < c, right[:, places], 0.0) for c, (_, right) in zip(counts, spectra, strict=True)]
        directions = jnp.asarray(np.stack(own))
        soap = eqx.tree_at(lambda s: s.projection, term.descriptor, directions, is_leaf=lambda x: x is None)
        terms.append(Term(soap, term.kernel))
        for p, of in zip(own, samples, strict=True):
            left = _left_out(p, *of[t])
            dropped, worst = max(dropped, float(np.sqrt(np.mean(left)))), max(worst, float(np.sqrt(left.max())))
    if wanted is None and kept > (1.0 - LEAST_SPARED) * whole:
        return None
    return Compressed(EnergyKernel(tuple(terms), kernel.similarity), kept, dropped, worst)


def _sample(
    kernel: EnergyKernel, found: Sequence[Neighbourhood], seed: int, callback: Callback
) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """For each species and term, vectors and displacements δ ∂p [environments, pairs, features]."""
    n_species = len(kernel.species)
    shaped = batches(found, n_species)
    order = np.random.default_rng(seed).permutation(len(shaped))
    counts = np.zeros(n_species, int)
    gathered: list[list[tuple[list, list]]] = [[([], []) for _ in kernel.terms] for _ in range(n_species)]
    for k, b in enumerate(order):
        members, slots, places = shaped[b]
        kinds = np.concatenate([found[i].species for i in members])
        wanting = [s for s in np.unique(kinds) if counts[s] < SAMPLED]
        if not wanting:
            continue
        batch = collated([found[i] for i in members], n_species, slots, places)
        staged = stage(kernel, batch)
        mask = np.asarray(batch.mask)
        for s in wanting:
            own = np.flatnonzero(kinds == s)[: min(SAMPLED - counts[s], OF_ONE_BATCH)]
            counts[s] += len(own)
            for t in range(len(kernel.terms)):
                vectors, moves = np.asarray(staged.features[t]), np.asarray(staged.moves[t])
                gathered[s][t][0].append(vectors[:, own].T)
                picked = np.moveaxis(np.where(mask[:, own, None], moves[:, :, own], 0.0), 2, 0)
                gathered[s][t][1].append(DISPLACEMENT * picked.reshape(len(own), -1, vectors.shape[0]))
        callback("components", k + 1, len(order))
    callback("components", len(order), len(order))
    return [[(np.concatenate(v), _padded(m)) for v, m in terms] for terms in gathered]


def _padded(parts: list[np.ndarray]) -> np.ndarray:
    """Join along the first axis, the second padded with zeros to its longest."""
    most = max(p.shape[1] for p in parts)
    out = np.zeros((sum(len(p) for p in parts), most, parts[0].shape[2]))
    first = 0
    for part in parts:
        out[first : first + len(part), : part.shape[1]] = part
        first += len(part)
    return out


def _spectrum(
    vectors: Float[AnyArray, "environments features"],
    moves: Float[AnyArray, "environments pairs features"],
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, the largest first, and directions of the weighted second moment."""
    weights = np.ones(len(vectors))
    values, right = np.zeros(0), np.zeros((0, 0))
    for _ in range(ROUNDS):
        roots = np.sqrt(weights / weights.sum())
        rows = np.concatenate([roots[:, None] * vectors, (roots[:, None, None] * moves).reshape(-1, vectors.shape[1])])
        values, right = np.linalg.eigh(rows.T @ rows)
        values, right = np.maximum(values[::-1], 0.0), right[:, ::-1]
        left = np.sqrt(_left_out(right[:, : _enough(values, tolerance)], vectors, moves))
        if left.max() <= WORST * tolerance:
            break
        weights = weights * np.maximum(1.0, left / (WORST * tolerance)) ** 2
    return values, right


def _enough(values: np.ndarray, tolerance: float) -> int:
    """How many directions leave out no more than `tolerance`."""
    left = np.append(np.cumsum(values[::-1])[::-1], 0.0)
    return max(1, int(np.argmax(left <= tolerance**2)))


def _left_out(directions: np.ndarray, vectors: np.ndarray, moves: np.ndarray) -> Float[np.ndarray, " environments"]:
    """Squared length that a projection drops of each environment's vector and displacements."""
    before = np.sum(vectors**2, axis=1) + np.sum(moves**2, axis=(1, 2))
    flat = moves.reshape(-1, moves.shape[2]) @ directions
    after = np.sum((vectors @ directions) ** 2, axis=1) + np.sum(flat**2, axis=1).reshape(len(vectors), -1).sum(1)
    return np.maximum(before - after, 0.0)
