r"""The mean of a polynomial kernel as one polynomial for each species, whatever the number of environments behind it.

For $κ = c_1 t + c_2 t^2$, t = p·q, the sum over environments (`centres.py`) is $E_Z(p) = b_Z \cdot p + p^T A_Z p$ with

    $b_Z = c_1 \sum_m C_{mZ} (a_m q_m + v_m)$,
    $A_Z = c_2 \sum_m C_{mZ} (a_m q_m q_m^T + v_m q_m^T + q_m v_m^T)$.

Large weights of opposite signs cancel in these sums, once and in float64, and no more in each prediction.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gpjaxpot.kernels.abstract import Variance
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.kernels.polynomial import polynomial
from gpjaxpot.potential.centres import Centres


class Collapsed(eqx.Module):
    """Coefficients b and A of each term's features, for atoms of each species; None where the kernel has no such part.

    It takes the place of `Centres` in a prediction.
    """  # fmt: skip

    linear: tuple[Float[Array, "species _"] | None, ...]
    quadratic: tuple[Float[Array, "species _ _"] | None, ...]

    @classmethod
    def make(cls, kernel: EnergyKernel, centres: Centres) -> "Collapsed":
        """Add up what the environments say.

        Raises:
            ValueError: unless all terms are polynomials of p·q without a constant and of degree 2 at the most.
        """
        species = jnp.arange(len(kernel.species))
        coupling = np.asarray(kernel.coupling(centres.species, species), dtype=np.float64)
        values = np.asarray(centres.values, dtype=np.float64)
        linear, quadratic = [], []
        for i, powers in enumerate(_powers(kernel)):
            if powers is None:
                raise ValueError("the kernel is no polynomial of p·q of degree 1 or 2")
            q = np.asarray(centres.features[i], dtype=np.float64)
            v = None if centres.gradients is None else np.asarray(centres.gradients[i], dtype=np.float64)
            c1, c2 = powers.get(1), powers.get(2)
            linear.append(None if c1 is None else jnp.asarray(np.asarray(c1) * _linear(q, v, values, coupling)))
            quadratic.append(None if c2 is None else jnp.asarray(np.asarray(c2) * _quadratic(q, v, values, coupling)))
        return cls(tuple(linear), tuple(quadratic))

    @property
    def dtype(self) -> jnp.dtype:
        """Of the coefficients, in which the mean is evaluated."""
        return jax.tree.leaves(self)[0].dtype

    def energies_and_slopes(
        self, kernel: EnergyKernel, features: tuple[Float[Array, "_ atoms"], ...], species: Int[Array, " atoms"]
    ) -> tuple[Float[Array, " atoms"], tuple[Float[Array, "_ atoms"], ...]]:
        """Mean energy of each environment, eV, and its derivatives by the features: one product, A being symmetric."""
        del kernel
        energies, slopes = jnp.zeros(species.shape[0], self.dtype), []
        for p, b, a in zip(features, self.linear, self.quadratic, strict=True):
            by_b = jnp.zeros_like(p) if b is None else b.T[:, species]
            by_a = jnp.zeros_like(p)
            if a is not None:
                for s in range(len(a)):
                    by_a = by_a + jnp.where(species == s, a[s] @ p, 0.0)
            energies = energies + jnp.sum(p * (by_b + by_a), axis=0)
            slopes.append(by_b + 2.0 * by_a)
        return energies, tuple(slopes)


def collapses(kernel: EnergyKernel, centres: Centres) -> bool:
    """Whether the mean can be collapsed, and then takes fewer multiplications than the sum over environments."""
    cost = 0
    for term, powers in zip(kernel.terms, _powers(kernel), strict=True):
        if powers is None:
            return False
        d = term.descriptor.n_features
        cost += len(kernel.species) * (d * d if 2 in powers else d)
    return cost < len(centres) * sum(t.descriptor.n_features for t in kernel.terms)


def _powers(kernel: EnergyKernel) -> list[dict[int, Variance] | None]:
    """Coefficients of each term by power; None for one that has other powers than 1 and 2."""
    found = [polynomial(t.kernel) for t in kernel.terms]
    return [None if p is None or not set(p) <= {1, 2} else p for p in found]


def _linear(
    q: np.ndarray, v: np.ndarray | None, values: np.ndarray, coupling: np.ndarray
) -> Float[np.ndarray, "species features"]:
    """Σ_m C_ms (a_m q_m + v_m)."""
    total = q * values if v is None else q * values + v
    return coupling.T @ total.T


def _quadratic(
    q: np.ndarray, v: np.ndarray | None, values: np.ndarray, coupling: np.ndarray
) -> Float[np.ndarray, "species features features"]:
    """Σ_m C_ms (a_m q_m q_mᵀ + v_m q_mᵀ + q_m v_mᵀ)."""
    # With half of the first part in each, the sum and its transpose are the whole.
    half = 0.5 * q * values if v is None else 0.5 * q * values + v
    out = np.empty((coupling.shape[1], len(q), len(q)))
    for total, weights in zip(out, coupling.T, strict=True):
        seen = np.flatnonzero(weights)
        part = (half[:, seen] * weights[seen]) @ q[:, seen].T
        total[:] = part + part.T
    return out
