"""Joint posterior of all observables of one or several structures."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from gpjaxpot.arrays import AnyArray
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.exact_model import ExactModel, block, linear, one_by_one, padded_places
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.spreads import OWN, Factors
from gpjaxpot.structures.structure import Structure


class Joint(eqx.Module):
    """Normal distribution of [E | forces (atom by atom) | stress] of structures, one after the other.

    With a posterior over hyperparameters, the one with its mean and covariance, within and between.
    """

    mean: Float[AnyArray, " observables"]
    covariance: Float[AnyArray, "observables observables"]

    def sample(self, key: PRNGKeyArray | Array, n: int = 1) -> Float[AnyArray, "n observables"]:
        """Draw `n` times from the epistemic distribution (no label noise)."""
        values, vectors = np.linalg.eigh(self.covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return self.mean + np.asarray(jax.random.normal(key, (n, len(self.mean)))) @ root.T


def joint_posterior(
    kernel: EnergyKernel, model: SparseModel | ExactModel, structures: Sequence[Structure], factors: Factors = OWN
) -> Float[AnyArray, "observables observables"]:
    """Posterior covariance of the observables of `structures`; no stress without a volume.

    Standard deviations are the process's own times `factors`; correlations are its own.
    """
    batches = one_by_one(kernel, tuple(structures))
    used = []
    for structure, batch in zip(structures, batches, strict=True):
        n = len(structure)
        wanted = np.arange(1 + 3 * n + (6 if structure.volume is not None else 0))
        used.append(padded_places(wanted, n, batch.n_atoms))
    lines = [linear(kernel, b) for b in batches]
    prior = [
        [np.asarray(block(kernel, a, b))[np.ix_(i, j)] for b, j in zip(lines, used, strict=True)]
        for a, i in zip(lines, used, strict=True)
    ]
    rows = [
        np.asarray(model.cross(kernel, b).joint(b.n_atoms))[i]
        for b, i in zip(batches, used, strict=True)
    ]
    covariance = model.posterior.covariance(
        jnp.asarray(np.concatenate(rows)), jnp.asarray(np.block(prior))
    )
    each = (np.repeat(factors, (1, 3 * len(s), 6)) for s in structures)
    times = np.concatenate([f[: len(u)] for f, u in zip(each, used, strict=True)])
    return np.asarray(0.5 * (covariance + covariance.T)) * np.outer(times, times)
