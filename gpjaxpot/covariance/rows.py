r"""Covariance of the observables of a batch with the local energies of inducing environments.

With q_m the inducing vectors: $\mathrm{cov}(E, f_m) = \sum_i κ(p_i, q_m)$, and the derivative by one displacement
is $κ'(t_{im}) (\partial p_i/\partial r) \cdot q_m$: one product of the Jacobian with all q_m, scaled by rows.
It is the whole cost of a fit, so on a CPU it goes through NumPy's BLAS.
"""


import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.blocks import VOIGT
from gpjaxpot.covariance.features import Environments, Stage, stage
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.linalg.products import multiply
from gpjaxpot.structures.batch import Batch

# Inducing environments are taken in blocks, so that the products stay small beside the Jacobian.
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
    flat = [j.reshape(j.shape[0], -1) for j in staged.jacobians]
    n = len(inducing)
    blocks = []
    for start in range(0, n, COLUMN_BLOCK):
        some = inducing.take(jnp.arange(start, min(start + COLUMN_BLOCK, n)))
        total = None
        for i, term in enumerate(kernel.terms):
            q = some.features[i]
            product = multiply(flat[i], q, transpose=True) if term.kernel.cosine else None
            part = _term_rows(
                kernel, i, batch, staged.features[i], flat[i], product, q, some.species
            )
            total = part if total is None else jax.tree.map(jnp.add, total, part)
        blocks.append(total)
    if len(blocks) == 1:
        return blocks[0]
    return jax.tree.map(lambda *b: jnp.concatenate(b, axis=-1), *blocks)


@eqx.filter_jit
def _term_rows(kernel, index, batch, p, jac, product, q, species) -> Rows:
    """Rows under one term; `product` is Jᵀq, [(x, slot, atom), m], for a cosine kernel."""
    k = kernel.terms[index].kernel
    coupling = kernel.coupling(batch.species, species).astype(p.dtype)
    coupling = coupling * batch.atom_mask[:, None]
    shape = (3, *batch.others.shape, q.shape[1])
    if product is not None:
        value, slope = jax.jvp(k.profile, (p.T @ q,), (jnp.ones((p.shape[1], q.shape[1]), p.dtype),))
        by_pair = product.reshape(shape) * (coupling * slope)
    else:
        one = jax.vmap(jax.value_and_grad(k.evaluate), (None, 1))
        value, gradient = jax.vmap(one, (1, None))(p, q)  # [atom, m], [atom, m, features]
        by_pair = jnp.einsum(
            "fxka,amf->xkam", jac.reshape(-1, *shape[:3]), gradient * coupling[:, :, None]
        )
    segments = batch.n_structures + 1
    energy = jax.ops.segment_sum(coupling * value, batch.owner, segments)[:-1]
    # Forces: what pulls at the centre, minus what pulls at the neighbour through the pair that leads back.
    n = batch.n_atoms
    centre = jnp.sum(by_pair, axis=1)
    flat = (by_pair * batch.mask[:, :, None]).reshape(3, -1, q.shape[1])
    other = jax.vmap(lambda f: jax.ops.segment_sum(f, batch.others.reshape(-1), n))(flat)
    r = batch.displacements()
    virial = jnp.einsum("bka,ckam->bcam", r, by_pair)
    sym = jnp.stack([0.5 * (virial[i, j] + virial[j, i]) for i, j in VOIGT])
    per_structure = jax.vmap(lambda v: jax.ops.segment_sum(v, batch.owner, segments)[:-1])(sym)
    stress = per_structure / batch.volumes[:, None]
    return Rows(energy, centre - other, stress)


def as_numpy(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energy [S, M], forces [atoms, 3, M] and stress [S, 6, M] on the host."""
    forces = np.moveaxis(np.asarray(rows.forces), 0, 1)
    return np.asarray(rows.energy), forces, np.moveaxis(np.asarray(rows.stress), 0, 1)
