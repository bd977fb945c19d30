"""Posterior standard deviations of everything that is predicted for one structure."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpjaxpot.covariance.features import stage, vector_rows
from gpjaxpot.gp.mixture import Mixture
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.cross import prior
from gpjaxpot.potential.exact_model import ExactModel
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.structures.batch import Batch
from gpjaxpot.structures.structure import Structure

# Variances are differences of larger numbers: below this share of a local energy's prior variance (per Å²
# for forces, …) they are zero, and further below zero than the second share, something is wrong.
ROUND_OFF = 1e-14
INDEFINITE = 1e-6


# Of energies, forces, stresses: how many times as wide as the process's own their spreads are.
Factors = tuple[float, float, float]
OWN: Factors = (1.0, 1.0, 1.0)


def spreads(
    kernel: EnergyKernel, model: SparseModel | ExactModel, batch: Batch, structure: Structure, factors: Factors = OWN
) -> dict[str, Any]:
    """Epistemic fields of a `Prediction`, the 3 × 3 covariances of the forces, and the `vectors` of the environments.

    Of a mixture also the two terms, within its members and between them.  The process's own spreads are multiplied by
    `factors`.

    Raises:
        ArithmeticError: if a variance is negative beyond round-off.
    """
    n = len(structure)
    staged = stage(kernel, batch)
    before = jax.tree.map(np.asarray, prior(kernel, batch, staged))
    cross = jax.tree.map(np.asarray, model.cross(kernel, batch, staged))
    width = cross.energy.shape[1]
    scale = float(np.max(before.energies[:n]))
    # One product for all rows: energy, per-atom energies, forces, stress.
    rows = [cross.energy, cross.energies[:n], cross.forces[:n].reshape(3 * n, width)]
    periodic = structure.volume is not None
    if periodic:
        rows.append(cross.stress)
    joined = jnp.asarray(np.concatenate(rows))
    known, left = (np.asarray(h) for h in model.posterior.halves(joined))
    change = np.sum(left**2, axis=1) - np.sum(known**2, axis=1)
    first, last = 1 + n, 1 + n + 3 * n
    known3, left3 = known[first:last].reshape(n, 3, -1), left[first:last].reshape(n, 3, -1)
    gained = known3 @ np.swapaxes(known3, 1, 2) - left3 @ np.swapaxes(left3, 1, 2)
    forces = before.forces[:n] - gained
    diagonal = np.diagonal(forces, axis1=1, axis2=2)
    found = {
        "energy_epistemic_std": float(_root(before.energy + change[:1], scale * n**2, "the energy")[0]),
        "energies_epistemic_std": _root(
            before.energies[:n] + change[1:first], scale, "a local energy"
        ),
        "forces_epistemic_std": _root(diagonal, scale, "a force"),
        "forces_covariance": forces,
        "vectors": vector_rows(staged.features, n),
    }
    if periodic:
        per_volume = scale * (n / float(structure.volume or 1.0)) ** 2
        found["stress_epistemic_std"] = _root(before.stress + change[last:], per_volume, "the stress")
    if isinstance(model.posterior, Mixture):
        found |= _with_between(found, np.asarray(model.posterior.departures(joined)), n)
    return _times(found, factors)


def _times(found: dict[str, Any], factors: Factors) -> dict[str, Any]:
    energy, forces, stress = factors
    each = {"energy": energy, "energies": energy, "forces": forces, "stress": stress}

    def factor(name: str) -> float:
        own = each.get(name.split("_")[0], 1.0)
        return own**2 if name.endswith("covariance") else own

    return {name: value * factor(name) for name, value in found.items()}


def _with_between(within: dict[str, Any], apart: np.ndarray, n: int) -> dict[str, Any]:
    """Epistemic fields of a mixture, from those within its members and the departures of their means."""
    forces = apart[1 + n : 1 + 4 * n].reshape(n, 3, -1)
    parts = {
        "energy": np.linalg.norm(apart[0]),
        "energies": np.linalg.norm(apart[1 : 1 + n], axis=1),
        "forces": np.linalg.norm(forces, axis=2),
        "stress": np.linalg.norm(apart[1 + 4 * n :], axis=1),
    }
    found: dict[str, Any] = {}
    for name, between in parts.items():
        own = within.get(f"{name}_epistemic_std")
        if own is None:
            continue
        total = np.sqrt(own**2 + between**2)
        values = {"epistemic": total, "epistemic_within": own, "epistemic_between": between}
        found |= {f"{name}_{k}_std": float(v) if name == "energy" else v for k, v in values.items()}
    outer = forces @ np.swapaxes(forces, 1, 2)
    found["forces_between_covariance"] = outer
    found["forces_covariance"] = within["forces_covariance"] + outer
    return found


def _root(variance: np.ndarray, scale: float, name: str) -> np.ndarray:
    if np.min(variance) < -INDEFINITE * scale:
        raise ArithmeticError(
            f"the posterior variance of {name} is {np.min(variance):.3g}, below zero by more than round-off: the "
            "model's matrices are too ill-conditioned; refit with more noise or fewer inducing environments"
        )
    return np.sqrt(np.where(variance > ROUND_OFF * scale, variance, 0.0))
