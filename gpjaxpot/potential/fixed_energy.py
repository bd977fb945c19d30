"""What the mean has beside a Gaussian process's: energies that nothing is learned of, and that seldom act."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gpjaxpot.structures.batch import Batch


class FixedEnergy(eqx.Module):
    """An energy of each atom that is a function of the displacements to its neighbours."""

    @abstractmethod
    def energies(self, r: Float[Array, "3 slots atoms"], batch: Batch) -> Float[Array, " atoms"]:
        """Energies (eV) of the atoms, for displacements `r` (Å) of `batch`; 0 for padding."""

    @abstractmethod
    def acts(self, r: Float[Array, "3 slots atoms"], batch: Batch) -> Bool[Array, ""]:
        """Whether any of the energies is not zero, told in less work."""

    def add(
        self,
        energies: Float[Array, " atoms"],
        slopes: Float[Array, "3 slots atoms"],
        r: Float[Array, "3 slots atoms"],
        batch: Batch,
    ) -> tuple[Float[Array, " atoms"], Float[Array, "3 slots atoms"]]:
        """Add to per-atom energies, and to their derivative by `r`, where it acts."""

        def act(energies, slopes):
            own, back = jax.vjp(lambda r: self.energies(r, batch), r)
            return energies + own, slopes + back(jnp.ones_like(own))[0]

        return jax.lax.cond(self.acts(r, batch), act, lambda *same: same, energies, slopes)
