r"""Covariance of the observables of a batch with the local energies of inducing environments.

With q_m the inducing vectors: $\mathrm{cov}(E, f_m) = \sum_i κ(p_i, q_m)$, and the derivative by one displacement
is $κ'(t_{im}) (\partial p_i/\partial r) \cdot q_m$: one product of all derivatives with all q_m, its rows scaled and
added up.  It is the whole cost of a fit.  On a CPU it leaves out the padding, multiplies with NumPy's BLAS and
adds up by a sparse matrix; elsewhere, and inside transformations, it is one JAX program.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.blocks import VOIGT
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
    pairs = _Pairs(batch) if hosted else None
    n = len(inducing)
    total = None
    for i, term in enumerate(kernel.terms):
        real = pairs if term.kernel.cosine else None
        moves = staged.moves[i] if real is None else real.of(staged.moves[i])
        blocks = []
        for start in range(0, n, COLUMN_BLOCK):
            q = inducing.features[i][:, start : start + COLUMN_BLOCK]
            species = inducing.species[start : start + COLUMN_BLOCK]
            if real is not None:
                sites = _site_rows(kernel, i, batch, staged.features[i], q, species)
                blocks.append(real.rows(moves, *sites, np.asarray(q)))
            else:
                blocks.append(_term_rows(kernel, i, batch, staged.features[i], moves, q, species))
        part = blocks[0]
        if len(blocks) > 1:
            part = jax.tree.map(lambda *b: np.concatenate(b, -1) if hosted else jnp.concatenate(b, -1), *blocks)
        total = part if total is None else jax.tree.map(lambda a, b: a + b, total, part)
    assert total is not None  # a kernel has terms
    return total


class _Pairs:
    """The pairs of a batch without its padding, and the matrix that adds them up to forces and stresses."""

    def __init__(self, batch: Batch):
        mask = np.asarray(batch.mask)
        self.places = np.flatnonzero(mask)
        slot, self.centre = np.nonzero(mask)
        n, n_pairs = batch.n_atoms, len(slot)
        self.n_atoms, self.n_structures = n, batch.n_structures
        owner = np.asarray(batch.owner)
        self.of_structure = scipy.sparse.csr_matrix(
            (np.ones(n), (owner, np.arange(n))), (batch.n_structures + 1, n)
        )[:-1]
        # Rows are those of [forces (x, atom) | stress (voigt, structure)], columns (x, pair).
        other = np.asarray(batch.others)[slot, self.centre]
        r = np.asarray(batch.displacements())[:, slot, self.centre]
        volume = np.asarray(batch.volumes)[owner[self.centre]]
        entries = []
        for x in range(3):
            column = x * n_pairs + np.arange(n_pairs)
            entries.append((x * n + self.centre, column, np.ones(n_pairs)))
            entries.append((x * n + other, column, -np.ones(n_pairs)))
            for v, (i, j) in enumerate(VOIGT):
                # Half of each of the two off-diagonal entries, which also counts a diagonal one once.
                arm = 0.5 * (r[i] * (j == x) + r[j] * (i == x))
                if x in (i, j):
                    row = 3 * n + v * self.n_structures + owner[self.centre]
                    entries.append((row, column, arm / volume))
        row, column, value = (np.concatenate(e) for e in zip(*entries, strict=True))
        shape = (3 * n + 6 * self.n_structures, 3 * n_pairs)
        self.adds = scipy.sparse.csr_matrix((value, (row, column)), shape)
        self.no_volume = np.isnan(np.asarray(batch.volumes))

    def of(self, moves: Float[AnyArray, "3 slots atoms features"]) -> Float[np.ndarray, "x_pairs features"]:
        """Derivatives of the features by the displacements, padding left out; rows (x, pair)."""
        flat = np.asarray(moves).reshape(3, -1, moves.shape[-1])
        return flat[:, self.places].reshape(-1, moves.shape[-1])

    def rows(
        self,
        moves: Float[np.ndarray, "x_pairs features"],
        value: Float[AnyArray, "atoms inducing"],
        slope: Float[AnyArray, "atoms inducing"],
        q: Float[np.ndarray, "features inducing"],
    ) -> Rows:
        """Rows against the inducing vectors `q`, from the kernel's value and slope for each environment."""
        m = q.shape[1]
        product = (moves @ q).reshape(3, len(self.centre), m)
        product *= np.asarray(slope)[self.centre]
        added = self.adds @ product.reshape(len(moves), m)
        forces = added[: 3 * self.n_atoms].reshape(3, self.n_atoms, m)
        stress = added[3 * self.n_atoms :].reshape(6, self.n_structures, m)
        stress[:, self.no_volume] = np.nan
        return Rows(self.of_structure @ np.asarray(value), forces, stress)


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
