"""A sparse posterior together with the environments that it lives on."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import Environments, Stage, stage
from gpjaxpot.covariance.rows import inducing_rows
from gpjaxpot.gp.mixture import Mixture
from gpjaxpot.gp.sparse import SparsePosterior
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.cross import Cross
from gpjaxpot.potential.draws import Draws
from gpjaxpot.structures.batch import Batch


class SparseModel(eqx.Module):
    """Inducing environments and the posterior of the function there.

    With `refined` the mean is another one, that of the exact posterior; spreads are those of the sparse one.
    """

    inducing: Environments
    posterior: SparsePosterior | Mixture
    refined: Centres | None = None
    draws: Draws | None = None
    """Functions of the posterior that the refined mean is of, where some were drawn with it."""

    def centres(self, kernel: EnergyKernel) -> Centres:
        """What the mean is made of: inducing environments with their weights, or the refined mean."""
        del kernel
        if self.refined is not None:
            return self.refined
        return self.with_weights(self.posterior.weights)

    def with_weights(self, weights: Float[AnyArray, " inducing"]) -> Centres:
        """Centres with other weights, such as a draw's: as far from the mean as `weights` are from the posterior's."""
        q = self.inducing
        if self.refined is None:
            return Centres(q.features, q.species, weights)
        mean = self.refined
        still = tuple(jnp.zeros_like(f) for f in q.features)
        return Centres(
            tuple(jnp.concatenate(f, axis=1) for f in zip(mean.features, q.features, strict=True)),
            jnp.concatenate([mean.species, q.species]),
            jnp.concatenate([mean.values, weights - self.posterior.weights]),
            tuple(jnp.concatenate(g, axis=1) for g in zip(mean.gradients or (), still, strict=True)),
        )

    def cross(self, kernel: EnergyKernel, batch: Batch, staged: Stage | None = None) -> Cross:
        """Prior covariances of everything in a one-structure batch with the inducing variables."""
        staged = stage(kernel, batch) if staged is None else staged
        rows = inducing_rows(kernel, batch, self.inducing, staged)
        return Cross(
            rows.energy,
            local_cross(kernel, batch, Environments(staged.features, batch.species), self.inducing),
            jnp.moveaxis(rows.forces, 0, 1),
            rows.stress[:, 0],
        )


@eqx.filter_jit
def local_cross(
    kernel: EnergyKernel, batch: Batch, here: Environments, others: Environments
) -> Float[AnyArray, "atoms others"]:
    """Prior covariances of the local energies of a batch with those of `others`."""
    gram = kernel.gram(here.features, others.features, here.species, others.species)
    return gram * batch.atom_mask[:, None]
