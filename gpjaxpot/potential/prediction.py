"""What a potential says of one structure."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.errors import InputError
from gpjaxpot.gp.noise import Noise
from gpjaxpot.potential.calibration import VECTORS, Calibration
from gpjaxpot.uncertainty.ellipsoid import Ellipsoid
from gpjaxpot.uncertainty.quantile_function import ONE_SIGMA, QuantileFunction

# What is read from raw spreads: Gaussians, of one component and of the length of a vector.
_NORMAL, _LENGTHS = QuantileFunction.gaussian(1.0), QuantileFunction.gaussian(1.0, directions=3)


class Prediction(eqx.Module):
    """Energy (eV), per-atom energies, forces (eV/Å) and stress (eV/Å³, Voigt), each with its spreads.

    `…_epistemic_std` is the posterior's own standard deviation (too little data), that of energies and stresses times
    a factor that structures left out show (`Potential.spread`), `…_aleatoric_std` that of the labels' noise, `…_std`
    the root of the sum of their squares: what a new label would scatter by.
    Spreads are None when not asked for; aleatoric ones also where no noise is known.  Stress is None
    unless all three directions are periodic.

    With a posterior over the hyperparameters the epistemic variance is the sum of two terms, by the law of total
    variance: `…_epistemic_within_std` at given hyperparameters, their mean, and `…_epistemic_between_std`, of
    the means that differ between them.  Without one both are None.

    All these are the model's own, raw spreads.  What a calibration makes of them are the `…_uncertainty`: half-widths
    of the intervals that hold 68.27 % of new labels, as a Gaussian's σ does; `interval` gives those of other levels.
    Where `calibrated` says no, they are the raw spreads.
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
    calibration: Calibration | None = None
    forces_factor: Float[AnyArray, " atoms"] | None = None
    """What the calibration multiplies each atom's raw force spread by, before the number of a level."""
    novelty: Float[AnyArray, " atoms"] | None = None
    """How new each environment is to the calibration; above 1 what it says is extrapolated."""

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

    @property
    def energy_uncertainty(self) -> float | None:
        """Half-width of the 68.27 % interval of the energy, eV."""
        return self.half_width("energy")

    @property
    def energies_uncertainty(self) -> Float[AnyArray, " atoms"] | None:
        """Raw spread of the per-atom energies, eV: there are no labels of them to calibrate on."""
        return self.energies_std

    @property
    def forces_uncertainty(self) -> Float[AnyArray, "atoms 3"] | None:
        """Half-width of the 68.27 % interval of each force component, eV/Å."""
        return self.half_width("forces")

    @property
    def stress_uncertainty(self) -> Float[AnyArray, " 6"] | None:
        """Half-width of the 68.27 % interval of each stress component, eV/Å³."""
        return self.half_width("stress")

    def calibrated(self, name: str) -> bool:
        """Whether the spreads of "energy", "forces" or "stress" were calibrated on labels."""
        return self.calibration is not None and name in self.calibration.quantiles

    def half_width(self, name: str, level: float = ONE_SIGMA, raw: bool = False) -> Any:
        """Half-width of the interval of "energy", "forces" or "stress" that holds a new label with probability `level`.

        Calibrated, if the model is and `raw` is False; else that of a Gaussian with the raw spread.  None where there
        is no spread.

        Raises:
            InputError: for another name, a level outside (0, 1), or one that the calibration has too few data for.
        """
        if name not in ("energy", "forces", "stress"):
            raise InputError(f"there are intervals of energy, forces and stress, not of {name!r}")
        spread = getattr(self, f"{name}_std")
        if spread is None:
            return None
        factor = 1.0
        if name == "forces" and not raw and self.forces_factor is not None:
            factor = np.asarray(self.forces_factor)[:, None]
        return spread * (factor * self._width(name, level, raw))

    def supports(self, name: str, level: float, raw: bool = False) -> bool:
        """Whether there is an interval of this level: the calibration has enough data, or the spread is raw."""
        found = None if raw or self.calibration is None else self.calibration.quantiles.get(name)
        return found is None or found.supports(level)

    def interval(self, name: str, level: float = 0.9, raw: bool = False) -> tuple[Any, Any]:
        """Bounds that a new label of "energy", "forces" or "stress" lies within with probability `level`.

        Raises:
            InputError: as `half_width`, or if the prediction was made without uncertainty.
        """
        half = self.half_width(name, level, raw)
        mean = getattr(self, name)
        if half is None or mean is None:
            raise InputError(f"no interval of the {name}: predict with uncertainty=True; a stress needs a cell")
        return mean - half, mean + half

    def force_ellipsoids(self, level: float = 0.9, raw: bool = False) -> list[Ellipsoid]:
        """The region of each atom's force that a new label lies within with probability `level`.

        Raises:
            InputError: for a prediction without covariance, or as `half_width`.
        """
        if self.forces_covariance is None:
            raise InputError("there are no force ellipsoids: predict with covariance=True")
        noise = 0.0 if self.forces_aleatoric_std is None else self.forces_aleatoric_std[:, :, None] ** 2 * np.eye(3)
        covariances, n = np.asarray(self.forces_covariance + noise), len(self.forces)
        factors = np.ones(n) if raw or self.forces_factor is None else np.asarray(self.forces_factor)
        radius = self._width(VECTORS, level, raw)
        return [
            Ellipsoid(np.asarray(f), c, float(radius * g))
            for f, c, g in zip(self.forces, covariances, factors, strict=True)
        ]

    def _width(self, name: str, level: float, raw: bool) -> float:
        """Half-width of the interval of a level, or radius of the ellipsoid, in units of the raw spread."""
        found = None if raw or self.calibration is None else self.calibration.quantiles.get(name)
        if found is not None:
            return found.width(level)
        if name != VECTORS and level == ONE_SIGMA:
            return 1.0  # to the last digit
        return (_LENGTHS if name == VECTORS else _NORMAL).width(level)


def _total(epistemic, aleatoric):
    if epistemic is None:
        return None
    return epistemic if aleatoric is None else np.sqrt(epistemic**2 + aleatoric**2)


def noise_fields(noise: Noise, n: int, stress: bool) -> dict[str, Any]:
    """Aleatoric fields of a `Prediction` of `n` atoms; of the stress only where there is one."""
    energy, forces = noise.predicted("energy", n), noise.predicted("forces", n)
    level = noise.predicted("stress", n)
    return {
        "energy_aleatoric_std": energy,
        "forces_aleatoric_std": None if forces is None else np.full((n, 3), forces),
        "stress_aleatoric_std": np.full(6, level) if stress and level is not None else None,
    }
