r"""The mean as a sum over environments: the data, folded into them once.

With values a_m and gradients v_m of an environment q_m, the energy of an environment p is

    $E(p) = \sum_m C_m [a_m κ(p, q_m) + v_m \cdot \partial_q κ(p, q_m)]$,

two matrix products for many p.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gpjaxpot.kernels.energy_kernel import EnergyKernel


class Centres(eqx.Module):
    """Environments with the coefficients that the data left on them."""

    features: tuple[Float[Array, "_ centres"], ...]
    species: Int[Array, " centres"]
    values: Float[Array, " centres"]
    gradients: tuple[Float[Array, "_ centres"], ...] | None = None

    def __len__(self) -> int:
        """Return the number of environments."""
        return self.species.shape[0]

    @property
    def dtype(self) -> jnp.dtype:
        """Of the coefficients, in which the mean is evaluated."""
        return self.values.dtype

    def energies_and_slopes(
        self, kernel: EnergyKernel, features: tuple[Float[Array, "_ atoms"], ...], species: Int[Array, " atoms"]
    ) -> tuple[Float[Array, " atoms"], tuple[Float[Array, "_ atoms"], ...]]:
        """Mean energy of each environment, eV, and its derivatives by the features."""
        energies, back = jax.vjp(lambda f: local_energies(kernel, self, f, species), features)
        (slopes,) = back(jnp.ones_like(energies))
        return energies, slopes


def local_energies(
    kernel: EnergyKernel,
    centres: Centres,
    features: tuple[Float[Array, "_ atoms"], ...],
    species: Int[Array, " atoms"],
) -> Float[Array, " atoms"]:
    """Mean energy of each environment, eV, without the energy per species."""
    total = jnp.zeros(species.shape[0], features[0].dtype)
    coupling = kernel.coupling(centres.species, species).astype(total.dtype)
    for i, term in enumerate(kernel.terms):
        q, p, k = centres.features[i], features[i], term.kernel
        if centres.gradients is None:
            gram = k.gram(q, p)
            total = total + centres.values @ (coupling * gram)
        elif k.cosine:
            t = q.T @ p
            value, slope = jax.jvp(k.profile, (t,), (jnp.ones_like(t),))
            along = centres.gradients[i].T @ p
            total = total + jnp.sum(coupling * (centres.values[:, None] * value + slope * along), 0)
        else:
            gram, along = jax.jvp(lambda q, p=p, k=k: k.gram(q, p), (q,), (centres.gradients[i],))
            total = total + jnp.sum(coupling * (centres.values[:, None] * gram + along), 0)
    return total
