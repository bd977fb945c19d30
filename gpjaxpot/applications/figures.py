"""Figures of a potential's test: parity, errors against σ, and whether the σ can be believed."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from gpjaxpot import plots
from gpjaxpot.potential.calibration import Calibration
from gpjaxpot.potential.compared import Compared, compare
from gpjaxpot.structures.files import atomic_write
from gpjaxpot.structures.labels import Frame
from gpjaxpot.uncertainty.quantile_function import QuantileFunction
from gpjaxpot.units import EV_PER_A3_TO_GPA

if TYPE_CHECKING:
    import matplotlib.figure

HOW_TO_PLOT = "figures need matplotlib, which is not installed: pip install 'gpjaxpot[plot]'"

OBSERVABLES = {"energy": "energy", "force components": "forces", "stress components": "stress"}
Points = Float[np.ndarray, " points"]


def can_plot() -> bool:
    """Whether matplotlib, the extra `plot`, is installed."""
    return find_spec("matplotlib") is not None


def figures_of_test(frames: Sequence[Frame], predictions: Sequence[Any]) -> "dict[str, matplotlib.figure.Figure]":
    """Return a figure for each name: those that the labels and predictions allow.

    `parity_energy`, `parity_forces` and `parity_stress` show means, `force_error_against_std`, `reliability` and
    `z_histogram` the total standard deviations, where the predictions have them.
    """
    compared = [compare(f, p) for f, p in zip(frames, predictions, strict=True)]
    calibration = next((p.calibration for p in predictions), None)
    return parity_figures(frames, compared) | _spread_figures(compared, calibration)


def parity_figures(frames: Sequence[Frame], compared: Sequence[Compared]) -> "dict[str, matplotlib.figure.Figure]":
    """Return `parity_energy`, `parity_forces` and `parity_stress`, as far as there are labels."""
    pairs = list(zip(frames, compared, strict=True))
    figures = {}
    energies = [(f, c) for f, c in pairs if c.energy_error is not None]
    if energies:
        reference = np.array([f.labels.energy / len(f.structure) for f, _ in energies])
        predicted = reference - np.array([c.energy_error for _, c in energies])
        groups = [f.group or "(no group)" for f, _ in energies]
        named = any(f.group for f, _ in energies)
        figures["parity_energy"] = plots.parity_energy(reference, predicted, groups if named else None)
    reference, error = reference_forces(frames, compared)
    if len(error):
        figures["parity_forces"] = plots.parity_forces(reference, reference - error)
    stresses = [(f, c) for f, c in pairs if c.stress_error is not None]
    if stresses:
        reference = EV_PER_A3_TO_GPA * np.concatenate([np.asarray(f.labels.stress) for f, _ in stresses])
        error = EV_PER_A3_TO_GPA * np.concatenate([np.asarray(c.stress_error) for _, c in stresses])
        figures["parity_stress"] = plots.parity_stress(reference, reference - error)
    return figures


def reference_forces(frames: Sequence[Frame], compared: Sequence[Compared]) -> tuple[Points, Points]:
    """Return all force components that have labels, eV/Å, and their errors (label minus prediction)."""
    pairs = [(f, c) for f, c in zip(frames, compared, strict=True) if c.forces_error is not None]
    reference = [np.zeros(0), *(f.labels.forces.ravel() for f, _ in pairs)]
    return np.concatenate(reference), np.concatenate([np.zeros(0), *(c.forces_error.ravel() for _, c in pairs)])


def save_figures(figures: "dict[str, matplotlib.figure.Figure]", folder: Path) -> list[Path]:
    """Write each figure as `folder/NAME.png`, whole or not at all, and return the paths."""
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        with atomic_write(paths[-1], "wb") as out:
            figure.savefig(out, format="png")
    return paths


def _spread_figures(
    compared: Sequence[Compared], calibration: Calibration | None
) -> "dict[str, matplotlib.figure.Figure]":
    """Return the figures about σ, nothing if there is none."""
    points = {name: scored(compared, observable) for name, observable in OBSERVABLES.items()}
    points = {name: both for name, both in points.items() if len(both[0])}
    if not points:
        return {}
    figures = {}
    if "force components" in points:
        std, error = points["force components"]
        sigma = quantile_function(calibration, "forces").sigma
        figures["force_error_against_std"] = plots.error_against_std(sigma * std, error, "eV/Å")
    quantiles = {name: quantile_function(calibration, OBSERVABLES[name]) for name in points}
    pit = {name: quantiles[name].pit(error / std) for name, (std, error) in points.items()}
    z = {name: error / (std * quantiles[name].sigma) for name, (std, error) in points.items()}
    return figures | {"reliability": plots.reliability(pit), "z_histogram": plots.z_histogram(z)}


def quantile_function(calibration: Calibration | None, observable: str) -> QuantileFunction:
    """Return that of "energy", "forces" or "stress"; the unit Gaussian's where it is not calibrated."""
    found = None if calibration is None else calibration.quantiles.get(observable)
    return QuantileFunction.gaussian(1.0) if found is None else found


def scored(compared: Sequence[Compared], observable: str, raw: bool = False) -> tuple[Points, Points]:
    """Return σ and error of all components that are not certain by symmetry, flat.

    σ is what a calibration's quantile function is in units of; with `raw`, the model's own.
    """
    std, error = [np.zeros(0)], [np.zeros(0)]
    for item in compared:
        total = getattr(item, f"{observable}_std")
        if total is None:
            continue
        if observable == "forces" and item.forces_factor is not None and not raw:
            total = total * item.forces_factor[:, None]
        uncertain = np.ravel(total) > 0
        std.append(np.ravel(total)[uncertain])
        error.append(np.ravel(getattr(item, f"{observable}_error"))[uncertain])
    return np.concatenate(std), np.concatenate(error)
