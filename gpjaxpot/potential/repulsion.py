r"""Repulsion of nuclei that come nearer than any in the data: a screened Coulomb energy, switched off smoothly.

$V(r) = \frac{e^2}{4\pi\epsilon_0} \frac{Z Z'}{r} \phi(r/a) S(r)$ for each pair of atoms, half of it to each, with

    $\phi(x) = \sum_k c_k e^{-d_k x}$,    $a = 0.8854 a_0 / (Z^{0.23} + Z'^{0.23})$,

and S falling from 1 at the inner radius to 0 at the outer one, so that beyond V is exactly zero.

Source: Ziegler, Biersack & Littmark, *The Stopping and Range of Ions in Solids* (1985); the coefficients with one more
digit, as LAMMPS has them (pair_style zbl): they add up to 1.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.descriptors.cutoff import smooth_cutoff
from gpjaxpot.potential.fixed_energy import FixedEnergy
from gpjaxpot.structures.batch import Batch
from gpjaxpot.units import BOHR_TO_A, HARTREE_TO_EV

SHARES = (0.18175, 0.50986, 0.28022, 0.02817)
DECAYS = (3.19980, 0.94229, 0.40290, 0.20162)
COULOMB = HARTREE_TO_EV * BOHR_TO_A
"""e²/(4πε₀), eV Å."""
# Nearer than this (Å) the energy is level: two atoms on one spot have a finite energy, and no force.
NEAREST = 1e-3


def screened_coulomb(
    r: Float[Array, "*pairs"], first: Float[Array, "*pairs"], second: Float[Array, "*pairs"]
) -> Float[Array, "*pairs"]:
    """Repulsion (eV) of two nuclei of charges `first` and `second` at distances `r` (Å), without a switch."""
    x = r * (first**0.23 + second**0.23) / (0.8854 * BOHR_TO_A)
    screening = sum(c * jnp.exp(-d * x) for c, d in zip(SHARES, DECAYS, strict=True))
    return COULOMB * first * second / r * screening


class Repulsion(FixedEnergy):
    """Radii between which the repulsion of each two species is switched off, and their nuclear charges."""

    outer: Float[AnyArray, "species species"]
    """Å, symmetric; species in the order of the kernel's."""
    inner: Float[AnyArray, ""]
    """Share of the outer radius within which nothing is taken off."""
    charges: Float[AnyArray, " species"]

    def energies(self, r: Float[Array, "3 slots atoms"], batch: Batch) -> Float[Array, " atoms"]:
        """Each atom's half (eV) of its pairs, for displacements `r` (Å) of `batch`."""
        squared, limit, near = self._near(r, batch)
        # Other pairs are put where the energy is zero in every derivative.
        distance = jnp.sqrt(jnp.where(near, jnp.maximum(squared, NEAREST**2), limit**2))
        others = jnp.broadcast_to(self.charges[_species_of_slots(batch)][:, None], distance.shape)
        own = jnp.broadcast_to(self.charges[batch.species], distance.shape)
        plain = screened_coulomb(distance, others, own)
        switch = smooth_cutoff(distance / limit, 1.0, 1.0 - self.inner)
        return 0.5 * jnp.sum(jnp.where(near, plain * switch, 0.0), axis=0)

    def acts(self, r: Float[Array, "3 slots atoms"], batch: Batch) -> Bool[Array, ""]:
        """Whether any two atoms are near enough: nearly never, and told by a comparison of distances."""
        return jnp.any(self._near(r, batch)[2])

    def _near(self, r: Array, batch: Batch) -> tuple[Array, Array, Bool[Array, "slots atoms"]]:
        """Squared distances, outer radii, and which pairs are nearer than these."""
        limit = self.outer[:, batch.species][_species_of_slots(batch)]
        squared = jnp.sum(r**2, axis=0)
        return squared, limit, batch.mask & (squared < limit**2)


def _species_of_slots(batch: Batch) -> np.ndarray:
    return np.repeat(np.arange(len(batch.slots)), batch.slots)
