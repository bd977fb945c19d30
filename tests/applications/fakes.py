"""A potential of springs with known energies and made-up standard deviations, for the faces."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

SPRING = 2.0  # eV/Å²
ENERGY_STD, ENERGIES_STD, FORCES_STD, STRESS_STD = 0.03, 0.01, 0.04, 0.002
ENERGY_NOISE, FORCES_NOISE = 0.04, 0.03


def root_sum(epistemic, aleatoric):
    """Add two standard deviations, either of which may be missing."""
    if epistemic is None or aleatoric is None:
        return epistemic
    return np.sqrt(epistemic**2 + aleatoric**2)


@dataclass
class FakePrediction:
    """The fields of a prediction that the faces read."""

    energy: float
    energies: np.ndarray
    forces: np.ndarray
    stress: np.ndarray | None
    energy_epistemic_std: float | None = None
    energies_epistemic_std: np.ndarray | None = None
    forces_epistemic_std: np.ndarray | None = None
    stress_epistemic_std: np.ndarray | None = None
    energy_aleatoric_std: float | None = None
    energies_aleatoric_std: np.ndarray | None = None
    forces_aleatoric_std: np.ndarray | None = None
    stress_aleatoric_std: np.ndarray | None = None
    forces_covariance: np.ndarray | None = None

    calibration: Any = None
    forces_factor: np.ndarray | None = None
    novelty: np.ndarray | None = None
    scale: float = 1.0

    @property
    def energy_uncertainty(self):
        """As a calibration makes it, eV."""
        return self._scaled(self.energy_std)

    @property
    def energies_uncertainty(self):
        """As a calibration leaves it, eV."""
        return self.energies_std

    @property
    def forces_uncertainty(self):
        """As a calibration makes it, eV/Å."""
        return self._scaled(self.forces_std)

    @property
    def stress_uncertainty(self):
        """As a calibration makes it, eV/Å³."""
        return self._scaled(self.stress_std)

    def _scaled(self, spread):
        return None if spread is None else self.scale * spread

    @property
    def energy_std(self):
        """Total, eV."""
        return root_sum(self.energy_epistemic_std, self.energy_aleatoric_std)

    @property
    def energies_std(self):
        """Total, eV."""
        return root_sum(self.energies_epistemic_std, self.energies_aleatoric_std)

    @property
    def forces_std(self):
        """Total, eV/Å."""
        return root_sum(self.forces_epistemic_std, self.forces_aleatoric_std)

    @property
    def stress_std(self):
        """Total, eV/Å³."""
        return root_sum(self.stress_epistemic_std, self.stress_aleatoric_std)


@dataclass
class FakePotential:
    """Springs from each atom to the origin: E = Σ ½ k |r|², F = −k r; counts its calls."""

    species: tuple[int, ...] = (1, 8, 14)
    noise: bool = True
    forces_std: float = FORCES_STD
    calibration: Any = None
    calibration_record: dict | None = None
    scale: float = 1.0
    novelty: float | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)

    def summary(self):
        """Return the two entries that the faces read."""
        return {"fingerprint": "abc123", "calibration": self.calibration_record}

    def neighbours(self, skin=0.0):
        """Keep nothing: springs have no neighbours."""

    def predict(
        self, structure, *, uncertainty=False, covariance=False, dtype="float64", neighbours=None
    ):
        """Return the springs' energy and forces, rounded to `dtype`."""
        self.calls.append({"uncertainty": uncertainty, "covariance": covariance, "dtype": dtype})
        positions = np.asarray(structure.positions, dtype=dtype).astype(float)
        energies = 0.5 * SPRING * np.sum(positions**2, axis=1)
        periodic = bool(np.all(structure.pbc))
        prediction = FakePrediction(
            # A last digit that depends on the path, as that of another compiled function would.
            energy=float(np.sum(energies)) * (1 + 1e-15 * uncertainty),
            energies=energies,
            forces=-SPRING * positions,
            stress=0.01 * np.arange(6.0) if periodic else None,
        )
        if uncertainty:
            self._add_uncertainty(prediction, periodic, covariance)
        return prediction

    def _add_uncertainty(self, prediction, periodic, covariance):
        count = len(prediction.energies)
        prediction.scale = self.scale
        if self.novelty is not None:
            prediction.novelty = np.linspace(0.0, self.novelty, count)
        prediction.energy_epistemic_std = ENERGY_STD
        prediction.energies_epistemic_std = np.full(count, ENERGIES_STD)
        prediction.forces_epistemic_std = np.full((count, 3), self.forces_std)
        prediction.stress_epistemic_std = np.full(6, STRESS_STD) if periodic else None
        if self.noise:
            prediction.energy_aleatoric_std = ENERGY_NOISE
            prediction.forces_aleatoric_std = np.full((count, 3), FORCES_NOISE)
        if covariance:
            prediction.forces_covariance = self.forces_std**2 * np.eye(3 * count)


def silicon(pbc=True):
    """Return two silicon atoms in a cube of 3 Å."""
    return Atoms("Si2", positions=[[0.1, 0.2, 0.3], [1.0, 1.5, -0.5]], cell=[3.0] * 3, pbc=pbc)
