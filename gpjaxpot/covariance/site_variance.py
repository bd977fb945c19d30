"""Prior covariance of the force on each atom, 3 × 3, without the blocks between atoms.

The force on atom a moves the environments of a and of its neighbours only, so the sum over pairs of
environments runs over (neighbours + 1)² of them, whatever the size of the structure.  On a CPU the products of a few
atoms at a time go through NumPy's BLAS.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import Stage, stage
from gpjaxpot.covariance.linearised import profile_derivatives
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.linalg.products import on_host
from gpjaxpot.structures.batch import Batch

# Atoms whose products are made at once on the host: a megabyte or two.
CHUNK = 16


def prior_force_covariance(
    kernel: EnergyKernel, batch: Batch, staged: Stage | None = None
) -> Float[AnyArray, "atoms 3 3"]:
    """Prior cov(F_a, F_a) in eV²/Å² for each place of `batch` (padding: zero).

    `staged` may hold what `stage` made of the batch before.
    """
    staged = stage(kernel, batch) if staged is None else staged
    if on_host(batch.mask, *staged.features, *staged.moves) and all(t.kernel.cosine for t in kernel.terms):
        return _on_host(kernel, batch, staged)
    return _as_program(kernel, batch, staged)


@eqx.filter_jit
def _as_program(kernel: EnergyKernel, batch: Batch, staged: Stage) -> Float[Array, "atoms 3 3"]:
    total = jnp.zeros((batch.n_atoms, 3, 3))
    for term, features, moves in zip(kernel.terms, staged.features, staged.moves, strict=True):
        vectors = features.T  # [atom, features]
        own = jnp.swapaxes(jnp.sum(moves, axis=1, where=batch.mask[:, :, None]), 0, 1)
        flat = moves.reshape(3, -1, features.shape[0])  # [3, pair, features]

        def one(a, own_a, backs, others, used, vectors=vectors, flat=flat, kernel_t=term.kernel):
            """One term's covariance of the force on one atom."""
            # Environments: of a itself, and of each neighbour through the pair that leads back to a.
            back = -flat[:, backs] * used[:, None]
            moves = jnp.concatenate([own_a[:, None], back], axis=1)
            centres = jnp.concatenate([a[None], others])
            p = vectors[centres]
            species = batch.species[centres]
            coupling = kernel.coupling(species, species)
            return _quadratic(kernel_t, coupling, p, moves)

        arguments = (jnp.arange(batch.n_atoms), own, batch.reverse.T, batch.others.T, batch.mask.T)
        total = total + jax.lax.map(lambda x, f=one: f(*x), arguments, batch_size=8)
    return total * batch.atom_mask[:, None, None]


def _on_host(kernel: EnergyKernel, batch: Batch, staged: Stage) -> Float[np.ndarray, "atoms 3 3"]:
    """The same by NumPy's products; of kernels of p·q."""
    n = batch.n_atoms
    # Environments that the force on an atom moves: its own, and those of its neighbours.
    centres = np.concatenate([np.arange(n)[:, None], np.asarray(batch.others).T], axis=1)
    used = np.concatenate([np.asarray(batch.atom_mask)[:, None], np.asarray(batch.mask).T], axis=1)
    reverse, species = np.asarray(batch.reverse).T, np.asarray(batch.species)[centres]
    total = np.zeros((n, 3, 3))
    for i, (features, moves) in enumerate(zip(staged.features, staged.moves, strict=True)):
        vectors = np.ascontiguousarray(np.asarray(features).T)
        chunks = [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]
        cosines = np.empty((n, *(centres.shape[1],) * 2))
        for here in chunks:
            p = vectors[centres[here]]
            np.matmul(p, np.swapaxes(p, 1, 2), out=cosines[here])
        first, second = (np.asarray(k) for k in _slopes(kernel, i, cosines, species, used))
        own = -np.einsum("xkaf,ak->axf", np.asarray(moves), used[:, 1:])  # all with the opposite sign
        flat = np.asarray(moves).reshape(3, -1, vectors.shape[1])
        for here in chunks:
            p = vectors[centres[here]]  # [atom, environment, features]
            moved = np.empty((len(p), 3, *p.shape[1:]))
            moved[:, :, 0] = own[here]
            moved[:, :, 1:] = np.moveaxis(flat[:, reverse[here]], 0, 1)
            along = (moved.reshape(len(p), -1, p.shape[2]) @ np.swapaxes(p, 1, 2)).reshape(len(p), 3, *first.shape[1:])
            rows = moved.reshape(len(p), 3, -1)
            total[here] += np.einsum("axf,ayf->axy", rows, (first[here, None] @ moved).reshape(rows.shape))
            crossed = np.swapaxes(along * second[here, None], 2, 3).reshape(len(p), 3, -1)
            total[here] += np.einsum("axf,ayf->axy", crossed, along.reshape(crossed.shape))
    return total


@eqx.filter_jit
def _slopes(
    kernel: EnergyKernel,
    index: int,
    t: Float[AnyArray, "atoms some some"],
    species: Int[AnyArray, "atoms some"],
    used: Bool[AnyArray, "atoms some"],
) -> tuple[Float[Array, "atoms some some"], Float[Array, "atoms some some"]]:
    """First and second derivative of one term between the environments of each atom; 0 between unused ones."""
    coupling = jax.vmap(kernel.coupling)(species, species) * used[:, :, None] * used[:, None]
    _, first, second = profile_derivatives(kernel.terms[index].kernel, t)
    return coupling * first, coupling * second


def _quadratic(kernel, coupling, p, moves) -> Array:
    """Σ over pairs of environments e, g of moves_eᵀ (∂p∂q κ_eg) moves_g, 3 × 3."""
    if kernel.cosine:
        _, k1, k2 = profile_derivatives(kernel, p @ p.T)
        weighted = jnp.einsum("eg,xgf->xef", coupling * k1, moves)
        first = jnp.einsum("xef,yef->xy", moves, weighted)
        u = jnp.einsum("xef,gf->xeg", moves, p)
        return first + jnp.einsum("xeg,eg,yge->xy", u, coupling * k2, u)

    def value(x: Array, y: Array) -> Array:
        left = p + jnp.tensordot(x, moves, 1)
        right = p + jnp.tensordot(y, moves, 1)
        return jnp.sum(coupling * kernel.gram(left.T, right.T))

    zero = jnp.zeros(3, p.dtype)
    return jax.jacfwd(jax.grad(value, argnums=0), argnums=1)(zero, zero)
