"""Prior covariances of a structure's observables with what a posterior is made of, and its own."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import Stage
from gpjaxpot.covariance.linearised import Linearised, covariance, stress_directions
from gpjaxpot.covariance.site_variance import prior_force_covariance
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.structures.batch import Batch


class Cross(eqx.Module):
    """Covariances with the X variables of a posterior (data, or inducing ones); padding included."""

    energy: Float[AnyArray, "one variables"]
    energies: Float[AnyArray, "atoms variables"]
    forces: Float[AnyArray, "atoms 3 variables"]
    stress: Float[AnyArray, "6 variables"]

    def joint(self, n_atoms: int) -> Float[AnyArray, "observables variables"]:
        """Rows [E | F | stress] of the first `n_atoms` atoms."""
        forces = self.forces[:n_atoms].reshape(3 * n_atoms, -1)
        return jnp.concatenate([self.energy, forces, self.stress])


class Prior(eqx.Module):
    """Prior variances of one structure's observables."""

    energy: Float[AnyArray, ""]
    energies: Float[AnyArray, " atoms"]
    forces: Float[AnyArray, "atoms 3 3"]
    stress: Float[AnyArray, " 6"]


def prior(kernel: EnergyKernel, batch: Batch, staged: Stage) -> Prior:
    """Prior variances in a one-structure batch; the stress's are NaN where there is no volume."""
    energy, energies, stress = _of_sums(kernel, batch, staged)
    return Prior(energy, energies, prior_force_covariance(kernel, batch, staged), stress)


@eqx.filter_jit
def _of_sums(kernel: EnergyKernel, batch: Batch, staged: Stage) -> tuple[Array, Array, Array]:
    """Prior variances of the energy, of each local energy and of the stress."""
    directions = tuple(stress_directions(batch, m) for m in staged.moves)
    strained = Linearised(staged.features, directions, batch.species, batch.atom_mask)
    block = covariance(kernel, strained, strained)
    gram = kernel.gram(staged.features, staged.features, batch.species, batch.species)
    return block[0, 0], jnp.diagonal(gram), jnp.diagonal(block)[1:]
