r"""Dense covariance blocks from feature Jacobians: the chain rule in stages.

Every derivative observable of a structure is a directional derivative of its features: a force component
moves environment i's vector by −∂p_i/∂R, a stress component by (1/V) ∂p_i/∂ε.  With these directions J, and κ
the kernel on vectors,

    $\mathrm{cov}(O, O') = \sum_{ij} J_i^T (\partial_p \partial_q κ_{ij}) J'_j$,

which for κ = κ(t), t = p·q, is $\sum_{ij} κ' J_i^T J'_j + κ'' (J_i^T q_j)(J'^T_j p_i)$: matrix products only.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.blocks import VOIGT
from gpjaxpot.covariance.features import Stage, stage
from gpjaxpot.kernels.abstract import AbstractKernel
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.structures.batch import Batch


class Linearised(eqx.Module):
    """A structure's features and the directions in which its forces and stress move them.

    Coordinates are the forces (3 × places for atoms, padding included) and the six stress components.
    """

    features: tuple[Float[Array, "_ atoms"], ...]
    directions: tuple[Float[Array, "coordinates _ atoms"], ...]
    species: Int[Array, " atoms"]
    mask: Bool[Array, " atoms"]


def linearise(kernel: EnergyKernel, batch: Batch, staged: Stage | None = None) -> Linearised:
    """Linearise a batch of one structure.  Stress directions are NaN where there is no volume.

    `staged` may hold what `stage` made of the batch before.
    """
    staged = stage(kernel, batch) if staged is None else staged
    directions = tuple(_directions(batch, moves) for moves in staged.moves)
    return Linearised(staged.features, directions, batch.species, batch.atom_mask)


def _directions(
    batch: Batch, moves: Float[AnyArray, "3 slots atoms features"]
) -> Float[Array, "coordinates features atoms"]:
    n = batch.n_atoms
    moved = jnp.moveaxis(moves, 0, 2)  # [slot, centre, 3, features]
    moved = jnp.where(batch.mask[:, :, None, None], moved, 0.0)
    centre = jnp.broadcast_to(jnp.arange(n), batch.others.shape)
    forces = jnp.zeros((n, n, *moved.shape[2:]), moved.dtype).at[batch.others, centre].add(-moved)
    forces = forces.at[jnp.arange(n), jnp.arange(n)].add(jnp.sum(moved, axis=0))
    forces = jnp.transpose(forces, (0, 2, 3, 1)).reshape(3 * n, -1, n)
    return jnp.concatenate([forces, stress_directions(batch, moves)])


def stress_directions(
    batch: Batch, moves: Float[AnyArray, "3 slots atoms features"]
) -> Float[Array, "6 features atoms"]:
    """How the six stress components of a one-structure batch move the features: (1/V) ∂p/∂ε."""
    lengths = jnp.where(batch.mask, batch.displacements(), 0.0)
    virial = jnp.einsum("bka,ckaf->bcfa", lengths, moves)
    return jnp.stack([0.5 * (virial[i, j] + virial[j, i]) for i, j in VOIGT]) / batch.volumes[0]


def covariance(
    kernel: EnergyKernel, a: Linearised, b: Linearised
) -> Float[Array, "rows columns"]:
    """cov([E, F, σ]_a, [E, F, σ]_b); equals `blocks.observable_block`."""
    coupling = kernel.coupling(a.species, b.species) * jnp.outer(a.mask, b.mask)
    total = jnp.zeros((1 + a.directions[0].shape[0], 1 + b.directions[0].shape[0]))
    for term, p, q, jp, jq in zip(
        kernel.terms, a.features, b.features, a.directions, b.directions, strict=True
    ):
        block = _by_cosine if term.kernel.cosine else _by_differentiation
        total = total + block(term.kernel, coupling, p, q, jp, jq)
    return total


def profile_derivatives(
    kernel: AbstractKernel, t: Float[Array, "*pairs"]
) -> tuple[Float[Array, "*pairs"], Float[Array, "*pairs"], Float[Array, "*pairs"]]:
    """Profile of a cosine kernel and its first and second derivative, elementwise."""
    one = jnp.ones_like(t)

    def slope(t: Array) -> tuple[Array, Array]:
        return jax.jvp(kernel.profile, (t,), (one,))

    (value, first), (_, second) = jax.jvp(slope, (t,), (one,))
    return value, first, second


def _by_cosine(kernel, coupling, p, q, jp, jq) -> Array:
    k0, k1, k2 = (coupling * k for k in profile_derivatives(kernel, p.T @ q))
    energy = jnp.sum(k0).reshape(1, 1)
    right = jnp.einsum("cfb,fb->c", jq, p @ k1)
    left = jnp.einsum("cfa,fa->c", jp, q @ k1.T)
    # First over the environments of b, then over those of a: the cost is that of two products of the size
    # of the directions, not of all pairs of environments.
    moved = jnp.tensordot(jq, k1, ((2,), (1,)))  # [coordinate', features, a]
    second = jnp.tensordot(jp, moved, ((1, 2), (1, 2)))
    u = jnp.einsum("cfa,fb->cab", jp, q) * k2
    v = jnp.einsum("cfb,fa->cab", jq, p)
    second = second + jnp.tensordot(u, v, ((1, 2), (1, 2)))
    top = jnp.concatenate([energy, right[None]], 1)
    return jnp.concatenate([top, jnp.concatenate([left[:, None], second], 1)])


def _by_differentiation(kernel, coupling, p, q, jp, jq) -> Array:
    def value(p: Array, q: Array) -> Array:
        return jnp.sum(coupling * kernel.gram(p, q))

    energy = value(p, q).reshape(1, 1)
    right = jnp.einsum("cfb,fb->c", jq, jax.grad(value, argnums=1)(p, q))
    left = jnp.einsum("cfa,fa->c", jp, jax.grad(value, argnums=0)(p, q))

    def moved(direction: Array) -> Array:
        return jax.jvp(lambda q: jax.grad(value, argnums=0)(p, q), (q,), (direction,))[1]

    second = jnp.tensordot(jp, jax.lax.map(moved, jq), ((1, 2), (1, 2)))
    top = jnp.concatenate([energy, right[None]], 1)
    return jnp.concatenate([top, jnp.concatenate([left[:, None], second], 1)])
