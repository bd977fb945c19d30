"""Covariance blocks by plain automatic differentiation of a structure kernel: the definition.

A structure kernel is any ``k(x, x') -> scalar``, the prior covariance of two energies; coordinates may have
any shape.  Every faster path of the package is tested against these functions.

Source: Rasmussen & Williams, *Gaussian Processes for Machine Learning* (2006), §9.4.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gpjaxpot.covariance.features import environments
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.structures.batch import Batch

StructureKernel = Callable[[Array, Array], Array]
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def energy_force(
    kernel: StructureKernel, a: Float[Array, "*a"], b: Float[Array, "*b"]
) -> Float[Array, "*b"]:
    """cov(E_a, F_b) = −∂k/∂b, in eV²/Å."""
    return -jax.grad(kernel, argnums=1)(a, b)


def force_energy(
    kernel: StructureKernel, a: Float[Array, "*a"], b: Float[Array, "*b"]
) -> Float[Array, "*a"]:
    """cov(F_a, E_b) = −∂k/∂a, in eV²/Å."""
    return -jax.grad(kernel, argnums=0)(a, b)


def force_force(
    kernel: StructureKernel, a: Float[Array, "*a"], b: Float[Array, "*b"]
) -> Float[Array, "..."]:
    """cov(F_a, F_b) = ∂²k/∂a∂b, in eV²/Å²: the axes of a, then those of b."""
    return jax.jacfwd(jax.grad(kernel, argnums=0), argnums=1)(a, b)


def force_force_product(
    kernel: StructureKernel,
    a: Float[Array, "*a"],
    b: Float[Array, "*b"],
    weights: Float[Array, "*b"],
) -> Float[Array, "*a"]:
    """cov(F_a, F_b) @ weights at the cost of a few kernel evaluations; the block is never formed."""

    def along_weights(a: Array) -> Array:
        return jax.jvp(lambda b: kernel(a, b), (b,), (weights,))[1]

    return jax.grad(along_weights)(a)


def joint(
    kernel: StructureKernel, a: Float[Array, "*a"], b: Float[Array, "*b"]
) -> Float[Array, "rows columns"]:
    """cov([E_a, F_a], [E_b, F_b]) with flattened coordinates: energies first."""
    n, m = a.size, b.size
    first = jnp.concatenate([kernel(a, b).reshape(1, 1), energy_force(kernel, a, b).reshape(1, m)], 1)
    second = jnp.concatenate(
        [force_energy(kernel, a, b).reshape(n, 1), force_force(kernel, a, b).reshape(n, m)], 1
    )
    return jnp.concatenate([first, second])


def observable_kernel(kernel: EnergyKernel, a: Batch, b: Batch) -> StructureKernel:
    """Structure kernel of two one-structure batches, over vectors of all positions and strains.

    Coordinates are [positions (3 atoms), strain (9)], deviations from the batches as they are.
    """

    def moved(batch: Batch, x: Array) -> Batch:
        """The batch with its atoms moved and its cells strained by `x`."""
        n = 3 * batch.n_atoms
        positions = batch.positions + x[:n].reshape(-1, 3)
        return eqx.tree_at(
            lambda c: (c.positions, c.strain),
            batch,
            (positions, batch.strain + x[n:].reshape(1, 3, 3)),
        )

    def value(x: Array, y: Array) -> Array:
        first, second = environments(kernel, moved(a, x)), environments(kernel, moved(b, y))
        gram = kernel.gram(first.features, second.features, first.species, second.species)
        return jnp.sum(gram * jnp.outer(a.atom_mask, b.atom_mask))

    return value


def observable_block(
    kernel: EnergyKernel, a: Batch, b: Batch
) -> Float[Array, "rows columns"]:
    """cov([E, F, σ]_a, [E, F, σ]_b) of two one-structure batches by nested AD: the nine blocks.

    Padding atoms keep their (zero) rows; the stress of a structure without volume is NaN.
    """
    value = observable_kernel(kernel, a, b)
    x, y = jnp.zeros(3 * a.n_atoms + 9), jnp.zeros(3 * b.n_atoms + 9)
    ea = jax.grad(value, argnums=0)(x, y)
    eb = jax.grad(value, argnums=1)(x, y)
    second = jax.jacfwd(jax.grad(value, argnums=0), argnums=1)(x, y)
    left, right = _observable_map(a), _observable_map(b)
    top = jnp.concatenate([value(x, y).reshape(1, 1), (right @ eb)[None]], 1)
    bottom = jnp.concatenate([(left @ ea)[:, None], left @ second @ right.T], 1)
    return jnp.concatenate([top, bottom])


def _observable_map(batch: Batch) -> Float[Array, "observables coordinates"]:
    """Linear map from the gradient of an energy, by positions and strain, to forces and stress."""
    n = 3 * batch.n_atoms
    rows = jnp.zeros((n + 6, n + 9)).at[:n, :n].set(-jnp.eye(n))
    for v, (i, j) in enumerate(VOIGT):
        rows = rows.at[n + v, n + 3 * i + j].add(0.5 / batch.volumes[0])
        rows = rows.at[n + v, n + 3 * j + i].add(0.5 / batch.volumes[0])
    return rows
