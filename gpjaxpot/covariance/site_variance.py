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
    for term, features, jacobian in zip(
        kernel.terms, staged.features, staged.jacobians, strict=True
    ):
        jac = jnp.multiply(jacobian, batch.mask)
        vectors = features.T  # [atom, features]
        flat = jnp.transpose(jac, (2, 3, 1, 0)).reshape(-1, 3, jac.shape[0])  # [pair, 3, features]
        own = jnp.transpose(jnp.sum(jac, axis=2), (2, 1, 0))

        def one(a, own_a, backs, others, used, vectors=vectors, flat=flat, kernel_t=term.kernel):
            # Environments: of a itself, and of each neighbour through the pair that leads back to a.
            moves = jnp.concatenate([own_a[None], jnp.where(used[:, None, None], -flat[backs], 0.0)])
            centres = jnp.concatenate([a[None], others])
            p = vectors[centres]
            species = batch.species[centres]
            coupling = kernel.coupling(species, species)
            return _quadratic(kernel_t, coupling, p, moves)

        arguments = (jnp.arange(batch.n_atoms), own, batch.reverse.T, batch.others.T, batch.mask.T)
        total = total + jax.lax.map(lambda x, f=one: f(*x), arguments, batch_size=8)
    return total * batch.atom_mask[:, None, None]


def _quadratic(kernel, coupling, p, moves) -> Array:
    """Σ over pairs of environments of movesᵀ (∂p∂q κ) moves, 3 × 3."""
    if kernel.cosine:
        _, k1, k2 = profile_derivatives(kernel, p @ p.T)
        weighted = jnp.tensordot(coupling * k1, moves, 1)
        first = jnp.einsum("exf,eyf->xy", moves, weighted)
        u = jnp.einsum("exf,gf->exg", moves, p)
        return first + jnp.einsum("exg,eg,gye->xy", u, coupling * k2, u)

    def value(x: Array, y: Array) -> Array:
        left = p + jnp.tensordot(x, moves, ((0,), (1,)))
        right = p + jnp.tensordot(y, moves, ((0,), (1,)))
        return jnp.sum(coupling * kernel.gram(left.T, right.T))

    zero = jnp.zeros(3, p.dtype)
    return jax.jacfwd(jax.grad(value, argnums=0), argnums=1)(zero, zero)
