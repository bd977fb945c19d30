r"""Covariance of the observables of a batch with the local energies of inducing environments.

With q_m the inducing vectors: $\mathrm{cov}(E, f_m) = \sum_i κ(p_i, q_m)$, and the derivative by one displacement
is $κ'(t_{im}) (\partial p_i/\partial r) \cdot q_m$: one product of all derivatives with all q_m, its rows scaled and
added up.  It is the whole cost of a fit.  On a CPU it leaves out the padding, multiplies with NumPy's BLAS and
adds up while that is in cache (`centre_moves.py`); elsewhere, and inside transformations, it is one JAX program.
"""

import functools
import operator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.blocks import VOIGT
from gpjaxpot.covariance.centre_moves import centre_moves
from gpjaxpot.covariance.features import Environments, Stage, stage
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.linalg.products import on_host
from gpjaxpot.structures.batch import Batch

# Inducing environments are taken in blocks, so that the products stay small beside the derivatives.
COLUMN_BLOCK = 512


class Rows(eqx.Module):
    """cov(observable, f_m): energies, forces and stresses of a batch by inducing environments."""

    energy: Float[AnyArray, "structures inducing"]
    forces: Float[AnyArray, "3 atoms inducing"]
    stress: Float[AnyArray, "6 structures inducing"]


def inducing_rows(
    kernel: EnergyKernel, batch: Batch, inducing: Environments, staged: Stage | None = None
) -> Rows:
    """Rows of a batch, a block of inducing environments after the other.

    `staged` may hold what `stage` made of the batch before.  Padding atoms have zero rows; stress rows are
    NaN where a structure has no volume.
    """
    staged = stage(kernel, batch) if staged is None else staged
    hosted = on_host(batch.mask, *staged.features, *staged.moves, *inducing.features)
    if hosted and all(t.kernel.cosine for t in kernel.terms):
        return _rows_on_host(kernel, batch, inducing, staged)
    blocks = []
    for start in range(0, len(inducing), COLUMN_BLOCK):
        block = inducing.take(slice(start, start + COLUMN_BLOCK))
        parts = [
            _term_rows(kernel, i, batch, staged.features[i], staged.moves[i], block.features[i], block.species)
            for i in range(len(kernel.terms))
        ]
        blocks.append(jax.tree.map(lambda *p: functools.reduce(operator.add, p), *parts))
    return blocks[0] if len(blocks) == 1 else jax.tree.map(lambda *b: jnp.concatenate(b, -1), *blocks)


def _rows_on_host(kernel: EnergyKernel, batch: Batch, inducing: Environments, staged: Stage) -> Rows:
    """Rows by NumPy's products; where unlike species do not couple, each species by itself."""
    kinds, columns = np.asarray(batch.species), np.asarray(inducing.species)
    real, owner = np.asarray(batch.atom_mask), np.asarray(batch.owner)
    n, width = batch.n_atoms, len(inducing)
    of_structure = scipy.sparse.csr_matrix((np.ones(n), (owner, np.arange(n))), (batch.n_structures + 1, n))[:-1]
    energy, forces = np.zeros((batch.n_structures, width)), np.zeros((3, n, width))
    stress = np.zeros((batch.n_structures, 6, width))
    alike = [None] if kernel.similarity is not None else [s for s in np.unique(columns) if np.any(kinds[real] == s)]
    for s in alike:
        atoms = np.flatnonzero(real if s is None else real & (kinds == s))
        own = slice(None) if s is None or np.all(columns == s) else np.flatnonzero(columns == s)
        vectors = [np.asarray(q)[:, own] for q in inducing.features]
        values, slopes = _all_site_rows(kernel, batch, staged, atoms, vectors, inducing.species[own])
        energy[:, own] += of_structure[:, atoms] @ values
        pulls, virials = forces[..., own], stress[..., own]  # views, or copies of some columns
        for some in centre_moves(batch, atoms, staged.moves):
            some.add(vectors, slopes, pulls, virials)
        if not isinstance(own, slice):
            forces[..., own], stress[..., own] = pulls, virials
    stress /= np.asarray(batch.volumes)[:, None, None]  # NaN where there is none
    return Rows(energy, forces, np.moveaxis(stress, 1, 0))


def _all_site_rows(
    kernel: EnergyKernel,
    batch: Batch,
    staged: Stage,
    atoms: Int[np.ndarray, " some"],
    vectors: list[np.ndarray],
    species: Int[AnyArray, " inducing"],
) -> tuple[Float[np.ndarray, "some inducing"], list[Float[np.ndarray, "some inducing"]]]:
    """`_site_rows` of some atoms, a block of columns after the other: the sum of all terms, and each one's slope."""
    values = np.zeros((len(atoms), len(species)))
    slopes = [np.zeros_like(values) for _ in vectors]
    for start in range(0, len(species), COLUMN_BLOCK):
        here = slice(start, start + COLUMN_BLOCK)
        for i, (p, q) in enumerate(zip(staged.features, vectors, strict=True)):
            value, slope = _site_rows(kernel, i, batch, p, q[:, here], species[here])
            values[:, here] += np.asarray(value)[atoms]
            slopes[i][:, here] = np.asarray(slope)[atoms]
    return values, slopes


@eqx.filter_jit
def _site_rows(
    kernel: EnergyKernel,
    index: int,
    batch: Batch,
    p: Float[AnyArray, "features atoms"],
    q: Float[AnyArray, "features inducing"],
    species: Int[AnyArray, " inducing"],
) -> tuple[Float[Array, "atoms inducing"], Float[Array, "atoms inducing"]]:
    """Covariance of each local energy with each inducing one under one term, and its slope by p·q."""
    coupling = kernel.coupling(batch.species, species).astype(p.dtype) * batch.atom_mask[:, None]
    t = p.T @ q
    value, slope = jax.jvp(kernel.terms[index].kernel.profile, (t,), (jnp.ones_like(t),))
    return coupling * value, coupling * slope


@eqx.filter_jit
def _term_rows(
    kernel: EnergyKernel,
    index: int,
    batch: Batch,
    p: Float[AnyArray, "features atoms"],
    moves: Float[AnyArray, "3 slots atoms features"],
    q: Float[AnyArray, "features inducing"],
    species: Int[AnyArray, " inducing"],
) -> Rows:
    """Rows under one term, of any kernel."""
    k = kernel.terms[index].kernel
    if k.cosine:
        value, slope = _site_rows(kernel, index, batch, p, q, species)
        by_pair = (moves @ q) * slope
    else:
        coupling = kernel.coupling(batch.species, species).astype(p.dtype) * batch.atom_mask[:, None]
        one = jax.vmap(jax.value_and_grad(k.evaluate), (None, 1))
        value, gradient = jax.vmap(one, (1, None))(p, q)  # [atom, m], [atom, m, features]
        value = coupling * value
        by_pair = jnp.einsum("xkaf,amf->xkam", moves, gradient * coupling[:, :, None])
    by_pair = jnp.where(batch.mask[:, :, None], by_pair, 0.0)
    segments = batch.n_structures + 1
    energy = jax.ops.segment_sum(value, batch.owner, segments)[:-1]
    # Forces: what pulls at the centre, minus what pulls at the neighbour through the pair that leads back.
    flat = by_pair.reshape(3, -1, q.shape[1])
    other = jax.vmap(lambda f: jax.ops.segment_sum(f, batch.others.reshape(-1), batch.n_atoms))(flat)
    virial = jnp.einsum("bka,ckam->bcam", batch.displacements(), by_pair)
    sym = jnp.stack([0.5 * (virial[i, j] + virial[j, i]) for i, j in VOIGT])
    per_structure = jax.vmap(lambda v: jax.ops.segment_sum(v, batch.owner, segments)[:-1])(sym)
    stress = per_structure / batch.volumes[:, None]
    return Rows(energy, jnp.sum(by_pair, axis=1) - other, stress)


def as_numpy(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energy [S, M], forces [atoms, 3, M] and stress [S, 6, M] on the host."""
    forces = np.moveaxis(np.asarray(rows.forces), 0, 1)
    return np.asarray(rows.energy), forces, np.moveaxis(np.asarray(rows.stress), 0, 1)
