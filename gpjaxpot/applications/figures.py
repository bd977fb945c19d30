"""Figures of a potential's test: parity, errors against σ, and whether the σ can be believed."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from gpjaxpot import plots
from gpjaxpot.applications.compared import Compared, compare
from gpjaxpot.structures.files import atomic_write
from gpjaxpot.structures.labels import Frame
from gpjaxpot.uncertainty import scores

if TYPE_CHECKING:
    import matplotlib.figure

HOW_TO_PLOT = "figures need matplotlib, which is not installed: pip install 'gpjaxpot[plot]'"
# A smaller σ is round-off of what symmetry makes certain, and has no place on a plot of σ.
_CERTAIN = 1e-10

Points = Float[np.ndarray, " points"]


def can_plot() -> bool:
    """Whether matplotlib, the extra `plot`, is installed."""
    return find_spec("matplotlib") is not None


def figures_of_test(
    frames: Sequence[Frame], predictions: Sequence[Any]
) -> "dict[str, matplotlib.figure.Figure]":
    """Return a figure for each name: those that the labels and predictions allow.

    `parity_energy` and `parity_forces` show means, `force_error_against_std`, `reliability` and
    `z_histogram` the total standard deviations, where the predictions have them.
    """
    compared = [compare(f, p) for f, p in zip(frames, predictions, strict=True)]
    pairs = list(zip(frames, compared, strict=True))
    figures = {}
    energies = [(f, c) for f, c in pairs if c.energy_error is not None]
    if energies:
        reference = np.array([f.labels.energy / len(f.structure) for f, _ in energies])
        predicted = reference - np.array([c.energy_error for _, c in energies])
        groups = [f.group or "(no group)" for f, _ in energies]
        named = any(f.group for f, _ in energies)
        figures["parity_energy"] = plots.parity_energy(
            reference, predicted, groups if named else None
        )
    forces = [(f, c) for f, c in pairs if c.forces_error is not None]
    if forces:
        reference = np.concatenate([f.labels.forces.ravel() for f, _ in forces])
        predicted = reference - np.concatenate([c.forces_error.ravel() for _, c in forces])
        figures["parity_forces"] = plots.parity_forces(reference, predicted)
    return figures | _spread_figures(compared)


def save_figures(figures: "dict[str, matplotlib.figure.Figure]", folder: Path) -> list[Path]:
    """Write each figure as `folder/NAME.png`, whole or not at all, and return the paths."""
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        with atomic_write(paths[-1], "wb") as out:
            figure.savefig(out, format="png")
    return paths


def _spread_figures(compared: Sequence[Compared]) -> "dict[str, matplotlib.figure.Figure]":
    """Return the figures about σ, nothing if there is none."""
    scored = {
        name: points
        for name, field in (("energy", "energy"), ("force components", "forces"))
        if len((points := _scored(compared, field))[0])
    }
    if not scored:
        return {}
    zeros = {name: np.zeros_like(std) for name, (std, _) in scored.items()}
    figures = {}
    if "force components" in scored:
        std, error = scored["force components"]
        figures["force_error_against_std"] = plots.error_against_std(std, error, "eV/Å")
    return figures | {
        "reliability": plots.reliability(
            {name: scores.pit(zeros[name], std, error) for name, (std, error) in scored.items()}
        ),
        "z_histogram": plots.z_histogram(
            {name: error / std for name, (std, error) in scored.items()}
        ),
    }


def _scored(compared: Sequence[Compared], name: str) -> tuple[Points, Points]:
    """Return σ and error of all components that are not certain by symmetry, flat."""
    pairs = [c for c in compared if getattr(c, f"{name}_std") is not None]
    if not pairs:
        return np.zeros(0), np.zeros(0)
    std = np.concatenate([np.ravel(getattr(c, f"{name}_std")) for c in pairs])
    error = np.concatenate([np.ravel(getattr(c, f"{name}_error")) for c in pairs])
    uncertain = std > _CERTAIN
    return std[uncertain], error[uncertain]
