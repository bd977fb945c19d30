"""Prior covariance of the force on each atom, 3 × 3, without the blocks between atoms.

The force on atom a moves the environments of a and of its neighbours only, so the sum over pairs of
environments runs over (neighbours + 1)² of them, whatever the size of the structure.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gpjaxpot.covariance.features import Stage, stage
from gpjaxpot.covariance.linearised import profile_derivatives
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.structures.batch import Batch


def prior_force_covariance(
    kernel: EnergyKernel, batch: Batch, staged: Stage | None = None
) -> Float[Array, "atoms 3 3"]:
    """Prior cov(F_a, F_a) in eV²/Å² for each place of `batch` (padding: zero).

    `staged` may hold what `stage` made of the batch before.
    """
    staged = stage(kernel, batch) if staged is None else staged
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
