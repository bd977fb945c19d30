"""One structure's prediction set against its labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.errors import InputError
from gpjaxpot.structures.labels import Frame

# What symmetry makes certain, such as the forces in a perfect crystal, has an epistemic σ of round-off:
# below the first number (eV, eV/Å, eV/Å³), or below the second as a share of the total σ.
CERTAIN = 1e-8
CERTAIN_SHARE = 1e-4
# Files round positions: an atom is off a site of symmetry by so little that its force has an epistemic σ below the
# first number (eV/Å), and below the second as a share of the noise, too.  Its error is that of the label's last digits.
NEARLY = 1e-5
NEARLY_SHARE = 1e-2


@dataclass(frozen=True)
class Compared:
    """Label minus prediction, and the total standard deviation, where both sides exist.

    Energies are per atom (eV/atom), forces in eV/Å, stress in eV/Å³. `forces_covariance` holds
    each atom's 3x3 block with noise included. None where the label or the prediction has none.

    What symmetry makes certain, such as a force that must vanish, says nothing of a model: its σ is
    0 here, without noise, and so is an atom's covariance if one direction of its force is certain.
    """

    group: str | None
    isolated: bool
    n_atoms: int
    energy_error: float | None
    forces_error: Float[np.ndarray, "atoms 3"] | None
    stress_error: Float[np.ndarray, " 6"] | None
    energy_std: float | None
    forces_std: Float[np.ndarray, "atoms 3"] | None
    stress_std: Float[np.ndarray, " 6"] | None
    forces_covariance: Float[np.ndarray, "atoms 3 3"] | None
    forces_factor: Float[np.ndarray, " atoms"] | None = None
    """What a calibration multiplies the force spreads by, before the number of a level; None without one."""
    novelty: Float[np.ndarray, " atoms"] | None = None


@dataclass(frozen=True)
class Known:
    """One structure's predictions against its labels, and the vectors of its environments."""

    compared: Compared
    numbers: Int[np.ndarray, " atoms"]
    stored: Any
    """The vectors, or a function that makes them anew: those of many structures take gigabytes."""

    @property
    def vectors(self) -> Float[np.ndarray, "atoms size"]:
        """Of all terms of the kernel, one after the other."""
        return np.asarray(self.stored() if callable(self.stored) else self.stored)


def compare(frame: Frame, prediction: Any) -> Compared:
    """Return the differences between a frame's labels and its prediction.

    Raises:
        InputError: if the prediction is not finite.
    """
    atoms = len(frame.structure)
    energy = _difference(frame, "energy", prediction)
    forces = _difference(frame, "forces", prediction)
    stress = _difference(frame, "stress", prediction)
    energy_std = None if energy is None else _uncertain_std(frame, "energy", prediction)
    return Compared(
        group=frame.group,
        isolated=frame.isolated,
        n_atoms=atoms,
        energy_error=None if energy is None else float(energy) / atoms,
        forces_error=forces,
        stress_error=stress,
        energy_std=None if energy_std is None else float(energy_std) / atoms,
        forces_std=None if forces is None else _uncertain_std(frame, "forces", prediction),
        stress_std=None if stress is None else _uncertain_std(frame, "stress", prediction),
        forces_covariance=None if forces is None else _force_blocks(prediction, atoms),
        forces_factor=_array(getattr(prediction, "forces_factor", None)),
        novelty=_array(getattr(prediction, "novelty", None)),
    )


def _difference(frame: Frame, name: str, prediction: Any) -> np.ndarray | None:
    """Return label minus prediction; None if either is absent."""
    label, mean = getattr(frame.labels, name), _finite(frame, name, prediction)
    if label is None or mean is None:
        return None
    return np.asarray(label - mean)  # NumPy's difference of two 0-d arrays is no array.


def _finite(frame: Frame, name: str, prediction: Any) -> np.ndarray | None:
    """Return a field of the prediction as array or None, having refused NaN and infinity."""
    value = _array(getattr(prediction, name))
    if value is not None and not np.all(np.isfinite(value)):
        raise InputError(
            f"{frame.source or 'structure'}: the predicted {name} is not finite: "
            "look for atoms that overlap"
        )
    return value


def _uncertain_std(frame: Frame, name: str, prediction: Any) -> np.ndarray | None:
    """Return the total σ, zero where the model's own share of it is round-off."""
    total = _finite(frame, f"{name}_std", prediction)
    own = _finite(frame, f"{name}_epistemic_std", prediction)
    if total is None or own is None:
        return total
    return np.where(own > _certain(total, name), total, 0.0)


def _certain(total: np.ndarray, name: str) -> Any:
    """Epistemic σ of what counts as certain, beside a total σ."""
    least = np.maximum(CERTAIN, CERTAIN_SHARE * total)
    return np.maximum(least, np.minimum(NEARLY, NEARLY_SHARE * total)) if name == "forces" else least


def _force_blocks(prediction: Any, atoms: int) -> Float[np.ndarray, "atoms 3 3"] | None:
    """Return each atom's force covariance, noise included, in (eV/Å)²; zero where a direction is certain."""
    covariance = _array(prediction.forces_covariance)
    if covariance is None:
        return None
    if covariance.shape == (3 * atoms, 3 * atoms):
        diagonal = np.arange(atoms)
        covariance = covariance.reshape(atoms, 3, atoms, 3)[diagonal, :, diagonal, :]
    noise = _array(prediction.forces_aleatoric_std)
    total = covariance if noise is None else covariance + noise[:, :, None] ** 2 * np.eye(3)
    least = np.linalg.eigvalsh(covariance)[:, 0]
    size = np.sqrt(np.trace(total, axis1=1, axis2=2) / 3.0)
    return np.where((least > _certain(size, "forces") ** 2)[:, None, None], total, 0.0)


def _array(value: Any) -> np.ndarray | None:
    return None if value is None else np.asarray(value, dtype=np.float64)
