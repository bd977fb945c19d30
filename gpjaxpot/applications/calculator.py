"""ASE calculator of a potential, with the standard deviation of all that it predicts."""

import copy
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import ase
import numpy as np
from ase.calculators.calculator import Calculator as AseCalculator
from ase.calculators.calculator import PropertyNotImplementedError, all_changes

from gpjaxpot.applications.ase_properties import QUANTITIES, SUFFIXES, UNCERTAINTIES, register
from gpjaxpot.applications.predicts import Predicts
from gpjaxpot.errors import InputError, did_you_mean
from gpjaxpot.structures.elements import symbols


class UncertaintyError(RuntimeError):
    """A force is less certain than the calculator was told to accept."""


class Calculator(AseCalculator):
    """Energy, forces and stress of a potential, and one standard deviation of each, in ASE.

    Uncertainties of a calibrated potential are half-widths of intervals that hold 68.27 % of labels, as a Gaussian's
    standard deviation does; `raw=True` gives its own spreads instead, and `uncertainty_info` says which they are.

    Results (eV, Å): `energy`, `free_energy` (the same), `energies` (atoms,), `forces` (atoms, 3)
    and, where all three directions are periodic, `stress` (6,) in Voigt order. With
    `uncertainty=True`, or when one of them is asked for, also `energy_uncertainty`,
    `energies_uncertainty`, `forces_uncertainty` and `stress_uncertainty` with unit and shape of
    the property, each also with the suffix `_epistemic` (too little data) and `_aleatoric`
    (noise of the labels), which are always raw; the raw total is the root of the sum of their
    squares. A part without a noise model, such as that of `energies`, is absent.

    Results are kept until the atoms change. Asking for an uncertainty after an energy costs one
    more prediction and leaves the energy as it was. Copies share the potential.
    """

    implemented_properties = [*QUANTITIES, "free_energy", *UNCERTAINTIES]
    default_parameters = {
        "uncertainty": False,
        "dtype": "float64",
        "uncertainty_threshold": None,
        "on_threshold": "warn",
        "raw": False,
    }
    discard_results_on_any_change = True
    parameters: dict[str, Any]
    ignored_changes = {"initial_charges", "initial_magmoms"}

    def __init__(
        self,
        potential: Predicts,
        uncertainty: bool = False,
        dtype: Literal["float64", "float32"] = "float64",
        uncertainty_threshold: float | None = None,
        on_threshold: Literal["warn", "raise", "record"] = "warn",
        skin: float = 0.3,
        raw: bool = False,
    ):
        """Keep the potential and the choices; nothing is computed yet.

        Args:
            potential: what predicts.
            uncertainty: whether every calculation gives the standard deviations too.
            dtype: precision of the prediction.
            uncertainty_threshold: largest accepted length (eV/Å) of an atom's three force
                standard deviations; implies `uncertainty`.
            on_threshold: what to do beyond it: warn once, raise `UncertaintyError`, or only
                record the atoms in `uncertainty_info`.
            skin: the neighbour list reaches this far (Å) beyond the cutoff, and is made anew when an
                atom has moved by half of it.
            raw: whether uncertainties are the potential's own spreads, whatever its calibration says.

        Raises:
            InputError: for a value that is not one of these.
        """
        register()
        self.potential = potential
        self._neighbours = potential.neighbours(skin)
        self._above_threshold: list[int] = []
        self._outside: list[int] = []
        self._warned = False
        super().__init__(
            uncertainty=uncertainty,
            dtype=dtype,
            uncertainty_threshold=uncertainty_threshold,
            on_threshold=on_threshold,
            raw=raw,
        )

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change parameters, dropping the results; returns those that changed."""
        for key, value in kwargs.items():
            _check_parameter(key, value)
        return super().set(**kwargs)

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Fill `results`; `system_changes` says what differs from the last calculation.

        Raises:
            InputError: if there are no atoms, or some have a species unknown to the potential.
            PropertyNotImplementedError: for a stress that is not defined.
            UncertaintyError: beyond the threshold, if told so.
        """
        atoms = self.atoms if atoms is None else atoms
        if atoms is None:
            raise InputError("the calculator has no atoms: attach it to atoms, or pass them")
        super().calculate(atoms, list(properties), list(system_changes))
        if system_changes:
            self.results = {}
        self._check_atoms(atoms, properties)
        uncertainty = self._wants_uncertainty(properties)
        if "energy_uncertainty" in self.results or ("energy" in self.results and not uncertainty):
            return  # All that can be had is there.
        prediction = self._predict(atoms, uncertainty)
        results = _standard_results(prediction)
        if uncertainty:
            results |= _uncertainties(prediction, self.parameters["raw"])
            novelty = getattr(prediction, "novelty", None)
            self._outside = [] if novelty is None else np.flatnonzero(np.asarray(novelty) > 1.0).tolist()
            self._check_threshold(results["forces_uncertainty"])
        # What was known stays bit for bit, whichever compiled function made it.
        self.results = results | self.results

    @property
    def uncertainty_info(self) -> dict[str, Any]:
        """What the uncertainties are: calibration, model, and atoms that are not to be trusted.

        `calibrated` lists the quantities whose uncertainty is; `outside` the atoms of the last calculation with
        uncertainties whose environment is unlike those that were calibrated on, `above_threshold` those whose force is
        too uncertain.
        """
        summary = self.potential.summary()
        calibration = {} if self.parameters["raw"] else summary.get("calibration") or {}
        return {
            "calibrated": [name for name in QUANTITIES if name in calibration.get("observables", {})],
            "method": calibration.get("method", "posterior"),
            "level": calibration.get("level"),
            "n_calib": calibration.get("n_structures", 0),
            "source": calibration.get("source"),
            "model_hash": summary.get("fingerprint"),
            "above_threshold": list(self._above_threshold),
            "outside": list(self._outside),
        }

    def todict(self, skip_default: bool = False) -> dict[str, Any]:
        """Return the parameters and the model's fingerprint, as ASE stores them in files."""
        fingerprint = self.potential.summary().get("fingerprint")
        return {"model_hash": fingerprint, **super().todict(skip_default=skip_default)}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Calculator":
        """Copy all but the potential, which never changes and may be large."""
        memo[id(self.potential)] = self.potential
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        vars(new).update({key: copy.deepcopy(value, memo) for key, value in vars(self).items()})
        return new

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back from a pickle, perhaps in a process that has not registered the names."""
        register()
        vars(self).update(state)

    def _get_name(self) -> str:
        """Return the name under which ASE files the results."""
        return "gpjaxpot"

    def _predict(self, atoms: ase.Atoms, uncertainty: bool) -> Any:
        """Return the prediction; the only place that calls the potential."""
        precision = self.parameters["dtype"]
        return self.potential.predict(
            atoms, uncertainty=uncertainty, dtype=precision, neighbours=self._neighbours
        )

    def _wants_uncertainty(self, properties: Sequence[str]) -> bool:
        return (
            self.parameters["uncertainty"]
            or self.parameters["uncertainty_threshold"] is not None
            or any(name in UNCERTAINTIES for name in properties)
        )

    def _check_atoms(self, atoms: ase.Atoms, properties: Sequence[str]) -> None:
        """Refuse what cannot be predicted before anything is computed."""
        unknown = sorted(set(atoms.numbers.tolist()) - set(self.potential.species))
        if unknown:
            raise InputError(
                f"the atoms have species {symbols(unknown)}, "
                f"the potential knows {symbols(self.potential.species)}: "
                "fit it with data of these species, or remove these atoms"
            )
        if not all(atoms.pbc) and any(name.startswith("stress") for name in properties):
            raise PropertyNotImplementedError(
                f"stress is force per area of a cell; it needs three periodic directions, "
                f"the atoms have pbc={atoms.pbc.tolist()}"
            )

    def _check_threshold(self, forces_std: np.ndarray) -> None:
        """Note the atoms whose force is too uncertain, and do what was asked for then."""
        threshold = self.parameters["uncertainty_threshold"]
        if threshold is None:
            return
        size = np.linalg.norm(forces_std, axis=1)
        above = np.flatnonzero(size > threshold)
        self._above_threshold = above.tolist()
        action = self.parameters["on_threshold"]
        if not len(above) or action == "record":
            return
        worst = above[np.argmax(size[above])]
        message = (
            f"force uncertainty above {threshold:g} eV/Å on {len(above)} atom(s), "
            f"most on atom {worst} ({size[worst]:.3g} eV/Å): {_some(self._above_threshold)}"
        )
        if action == "raise":
            raise UncertaintyError(message)
        if not self._warned:
            self._warned = True
            warnings.warn(message, UserWarning, stacklevel=2)


def _standard_results(prediction: Any) -> dict[str, Any]:
    return _present(prediction, {"free_energy": "energy"} | {name: name for name in QUANTITIES})


def _uncertainties(prediction: Any, raw: bool) -> dict[str, Any]:
    # A prediction that is not ours may have raw spreads alone.
    calibrated = not raw and hasattr(prediction, "energy_uncertainty")
    endings = SUFFIXES | ({"_uncertainty": "_uncertainty"} if calibrated else {})
    fields = {name + suffix: name + end for name in QUANTITIES for suffix, end in endings.items()}
    return _present(prediction, fields)


def _present(prediction: Any, fields: dict[str, str]) -> dict[str, Any]:
    """Return the fields that are not None, as float or float64 array, under their ASE names."""
    values = {name: getattr(prediction, field, None) for name, field in fields.items()}
    return {
        name: np.array(value, dtype=np.float64) if np.ndim(value) else float(value)
        for name, value in values.items()
        if value is not None
    }


def _check_parameter(key: str, value: Any) -> None:
    """Refuse a parameter that does not exist or cannot have this value."""
    known = Calculator.default_parameters
    choices = {
        "uncertainty": (True, False),
        "raw": (True, False),
        "dtype": ("float64", "float32"),
        "on_threshold": ("warn", "raise", "record"),
    }
    if key not in known:
        raise InputError(
            f"the calculator has no parameter {key!r}{did_you_mean(key, known)}: "
            f"it has {', '.join(known)}"
        )
    if key in choices and value not in choices[key]:
        wanted = ", ".join(repr(choice) for choice in choices[key])
        raise InputError(f"{key} must be one of {wanted}, got {value!r}")
    if key == "uncertainty_threshold" and value is not None and not value > 0:
        raise InputError(f"uncertainty_threshold must be positive (eV/Å) or None, got {value!r}")


def _some(indices: list[int], limit: int = 10) -> str:
    listed = ", ".join(str(index) for index in indices[:limit])
    return listed + (f" and {len(indices) - limit} more" if len(indices) > limit else "")
