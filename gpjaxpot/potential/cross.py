"""Prior covariances of a structure's observables with what a posterior is made of, and its own."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gpjaxpot.covariance.features import expansions
from gpjaxpot.covariance.linearised import Linearised, covariance, stress_directions
from gpjaxpot.covariance.site_variance import prior_force_covariance
from gpjaxpot.descriptors.staged import jacobian
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.structures.batch import Batch


class Cross(eqx.Module):
    """Covariances with the X variables of a posterior (data, or inducing ones); padding included."""

    energy: Float[Array, "one variables"]
    energies: Float[Array, "atoms variables"]
    forces: Float[Array, "atoms 3 variables"]
    stress: Float[Array, "6 variables"]

    def joint(self, n_atoms: int) -> Float[Array, "observables variables"]:
        """Rows [E | F | stress] of the first `n_atoms` atoms."""
        forces = self.forces[:n_atoms].reshape(3 * n_atoms, -1)
        return jnp.concatenate([self.energy, forces, self.stress])


class Prior(eqx.Module):
    """Prior variances of one structure's observables."""

    energy: Float[Array, ""]
    energies: Float[Array, " atoms"]
    forces: Float[Array, "atoms 3 3"]
    stress: Float[Array, " 6"]


@eqx.filter_jit
def prior(kernel: EnergyKernel, batch: Batch) -> Prior:
    """Prior variances in a one-structure batch; the stress's are NaN where there is no volume."""
    parts = expansions(kernel, batch)
    directions = tuple(
        stress_directions(batch, jacobian(t.descriptor, e, batch.slots))
        for t, e in zip(kernel.terms, parts, strict=True)
    )
    features = tuple(e.features for e in parts)
    strained = Linearised(features, directions, batch.species, batch.atom_mask)
    block = covariance(kernel, strained, strained)
    gram = kernel.gram(features, features, batch.species, batch.species)
    return Prior(
        block[0, 0],
        jnp.diagonal(gram),
        prior_force_covariance(kernel, batch),
        jnp.diagonal(block)[1:],
    )
