"""What a potential says of one structure."""

import equinox as eqx
import numpy as np
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray


class Prediction(eqx.Module):
    """Energy (eV), per-atom energies, forces (eV/Å) and stress (eV/Å³, Voigt), each with its spreads.

    `…_epistemic_std` is the posterior's own standard deviation (too little data), `…_aleatoric_std` that of
    the labels' noise, `…_std` the root of the sum of their squares: what a new label would scatter by.
    Spreads are None when not asked for; aleatoric ones also where no noise is known.  Stress is None
    unless all three directions are periodic.

    With a posterior over the hyperparameters the epistemic variance is the sum of two terms, by the law of total
    variance: `…_epistemic_within_std` at given hyperparameters, their mean, and `…_epistemic_between_std`, of
    the means that differ between them.  Without one both are None.
    """

    energy: float
    energies: Float[AnyArray, " atoms"]
    forces: Float[AnyArray, "atoms 3"]
    stress: Float[AnyArray, " 6"] | None = None
    energy_epistemic_std: float | None = None
    energies_epistemic_std: Float[AnyArray, " atoms"] | None = None
    forces_epistemic_std: Float[AnyArray, "atoms 3"] | None = None
    stress_epistemic_std: Float[AnyArray, " 6"] | None = None
    energy_aleatoric_std: float | None = None
    forces_aleatoric_std: Float[AnyArray, "atoms 3"] | None = None
    stress_aleatoric_std: Float[AnyArray, " 6"] | None = None
    forces_covariance: Float[AnyArray, "atoms 3 3"] | None = None
    """Epistemic covariance of the force on each atom, eV²/Å²; the joint one is `Potential.joint`'s."""
    forces_between_covariance: Float[AnyArray, "atoms 3 3"] | None = None
    """The part of it that is between hyperparameters."""
    energy_epistemic_within_std: float | None = None
    energies_epistemic_within_std: Float[AnyArray, " atoms"] | None = None
    forces_epistemic_within_std: Float[AnyArray, "atoms 3"] | None = None
    stress_epistemic_within_std: Float[AnyArray, " 6"] | None = None
    energy_epistemic_between_std: float | None = None
    energies_epistemic_between_std: Float[AnyArray, " atoms"] | None = None
    forces_epistemic_between_std: Float[AnyArray, "atoms 3"] | None = None
    stress_epistemic_between_std: Float[AnyArray, " 6"] | None = None

    @property
    def energies_aleatoric_std(self) -> None:
        """None: an atom's share of the energy is no label, so it has no noise."""

    @property
    def energy_std(self) -> float | None:
        """Total spread of the energy, eV."""
        total = _total(self.energy_epistemic_std, self.energy_aleatoric_std)
        return None if total is None else float(total)

    @property
    def energies_std(self) -> Float[AnyArray, " atoms"] | None:
        """Total spread of the per-atom energies, eV."""
        return self.energies_epistemic_std

    @property
    def forces_std(self) -> Float[AnyArray, "atoms 3"] | None:
        """Total spread of each force component, eV/Å."""
        return _total(self.forces_epistemic_std, self.forces_aleatoric_std)

    @property
    def stress_std(self) -> Float[AnyArray, " 6"] | None:
        """Total spread of each stress component, eV/Å³."""
        return _total(self.stress_epistemic_std, self.stress_aleatoric_std)


def _total(epistemic, aleatoric):
    if epistemic is None:
        return None
    return epistemic if aleatoric is None else np.sqrt(epistemic**2 + aleatoric**2)
