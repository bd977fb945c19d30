r"""What binds atoms, as far as it is the same for all of a species: it is gone with an atom's last neighbour.

Where isolated atoms have energy zero, the atoms of the data lie some eV lower, nearly all of them by the same: their
cohesive energy $c_Z$.  It is part of the energies per species of bound atoms, so that a Gaussian process whose prior
mean is zero has only the rest to learn; and it is taken back of atoms that lose their neighbours,

    $V_i = -c_Z (1 - x_i)^3$ for $x_i = n_i/n_Z < 1$, else 0,    $n_i = \sum_j S(r_{ij}/r_c)$,

with S falling from 1 at 0 to 0 at the cutoff, and $n_Z$ below that of all bound atoms in the data, on which V is zero
in every derivative.  An atom with half of these neighbours keeps 7/8 of its cohesion, as second moments of the
electronic density of states, whose root binds, would have it about (Finnis & Sinclair, Phil. Mag. A 50, 45 (1984)).
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.descriptors.cutoff import smooth_cutoff
from gpjaxpot.potential.fixed_energy import FixedEnergy
from gpjaxpot.structures.batch import Batch


class Cohesion(FixedEnergy):
    """Cohesive energies, and with how many neighbours they are whole."""

    cohesive: Float[AnyArray, " species"]
    """eV, negative where atoms bind; species in the order of the kernel's."""
    enough: Float[AnyArray, " species"]
    """Sum of the weights of an atom's neighbours from which on nothing is taken back."""
    cutoff: Float[AnyArray, ""]
    """Å."""

    def energies(self, r: Float[Array, "3 slots atoms"], batch: Batch) -> Float[Array, " atoms"]:
        """Cohesion (eV) that each atom lacks, for displacements `r` (Å) of `batch`; 0 for padding."""
        missing = jnp.maximum(1.0 - self._weights(r, batch) / self.enough[batch.species], 0.0)
        return -jnp.asarray(self.cohesive)[batch.species] * missing**3 * batch.atom_mask

    def acts(self, r: Float[Array, "3 slots atoms"], batch: Batch) -> Bool[Array, ""]:
        """Whether any atom lacks neighbours."""
        return jnp.any(batch.atom_mask & (self._weights(r, batch) < self.enough[batch.species]))

    def _weights(self, r: Float[Array, "3 slots atoms"], batch: Batch) -> Float[Array, " atoms"]:
        """Sum of the weights of each atom's neighbours."""
        # Padding is put where the weight is zero in every derivative.
        distance = jnp.sqrt(jnp.where(batch.mask, jnp.sum(r**2, axis=0), jnp.square(self.cutoff)))
        return jnp.sum(smooth_cutoff(distance, self.cutoff, self.cutoff), axis=0)
