"""The figures of a report, each with a title and a sentence that says how to read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpjaxpot import plots
from gpjaxpot.applications.figures import OBSERVABLES, parity_figures, quantile_function, reference_forces, scored
from gpjaxpot.applications.report_record import (
    LARGE,
    Curve,
    force_sizes,
    retrieval_curves,
    structure_retrieval_curves,
)
from gpjaxpot.potential.calibration import Calibration
from gpjaxpot.potential.compared import Compared
from gpjaxpot.structures.labels import Frame
from gpjaxpot.uncertainty import scores

if TYPE_CHECKING:
    import matplotlib.figure

# A curve is drawn through so many points at most.
_CURVE = 400
_COUNTED = {"reliability", "pit_histogram", "coverage"}
_TEXTS = {
    "parity_energy": (
        "Energies: predicted against reference",
        "Points on the diagonal are right; below are their distances from it.",
    ),
    "parity_forces": (
        "Forces: predicted against reference",
        "Components of all forces; on the diagonal they are right, and below are their distances from it. "
        "Where points are many, colour is their number.",
    ),
    "parity_stress": (
        "Stresses: predicted against reference",
        "All six components, positive where in tension: on the diagonal they are right, and below are their distances "
        "from it.",
    ),
    "force_error_against_reference": (
        "Force errors against reference forces",
        "Predicted less reference: a slope means forces that are too weak or too strong, a band that widens means "
        "that large forces are predicted less well.",
    ),
    "reliability": (
        "Reliability",
        "How many labels lie below each predicted quantile: on the diagonal the predicted distributions are right; "
        "steep at both ends means too narrow, flat there too wide.",
    ),
    "pit_histogram": (
        "PIT histogram",
        "Where labels lie within their predicted distributions: flat is right, high ends mean too narrow, a hump in "
        "the middle means too wide, a slope means a bias.",
    ),
    "coverage": (
        "Coverage",
        "How many labels lie in intervals that promise to hold 50, 68, 90 and 95 %: below the diagonal "
        "intervals are too narrow, above it too wide.",
    ),
    "force_error_against_sigma": (
        "Force errors against their σ",
        "Components of all forces: where the line through the bins follows the dashed one, errors are as large as σ "
        "says; above it σ is too small.",
    ),
    "energy_and_force_std": (
        "Energy σ against force σ",
        "Each point is a structure: its energy's σ against that of its least certain force; structures apart from the "
        "rest are uncertain in only one of them.",
    ),
    "retrieval": (
        "Finding the largest force errors",
        f"Looking at atoms from the most uncertain down, how many of the {100 * LARGE:g} % with the largest force "
        "errors have been found: the farther above the diagonal, the more σ is worth to active learning.",
    ),
    "retrieval_of_structures": (
        "Finding the worst structures",
        f"The same of whole structures, by root mean squares over their atoms: how many of the {100 * LARGE:g} % with "
        "the largest errors have been found by looking at the most uncertain ones.",
    ),
}


@dataclass(frozen=True)
class ReportFigure:
    """A figure, its name for files, its title, and how to read it."""

    name: str
    title: str
    caption: str
    figure: Any


def report_figures(
    frames: Sequence[Frame], compared: Sequence[Compared], calibration: Calibration | None, raw: bool = False
) -> list[ReportFigure]:
    """Return the figures that the labels and spreads allow, in the order of the page.

    Args:
        frames: structures with labels.
        compared: the prediction of each, set against its labels.
        calibration: of the potential.
        raw: whether spreads are shown without it; coverage and retrieval show both.
    """
    pairs = [(f, c) for f, c in zip(frames, compared, strict=True) if not c.isolated]
    kept, items = (list(part) for part in zip(*pairs, strict=True)) if pairs else (list(frames), list(compared))
    figures = parity_figures(kept, items)
    reference, error = reference_forces(kept, items)
    if len(error):
        figures["force_error_against_reference"] = plots.error_against_reference(
            reference, -error, "force component", "eV/Å"
        )
    figures |= _spread_figures(items, None if raw else calibration, calibration)
    counts = _counts(items)
    texts = {name: (title, text + (f" {counts}" if name in _COUNTED else "")) for name, (title, text) in _TEXTS.items()}
    return [ReportFigure(name, *texts[name], figure) for name, figure in figures.items()]


def _counts(compared: Sequence[Compared]) -> str:
    """Return how much the figures of shares are told from."""
    known = {name: len(scored(compared, observable)[0]) for name, observable in OBSERVABLES.items()}
    words = {"energy": "energies"}
    told = [f"{n} {words.get(name, name)}" for name, n in known.items() if n]
    return f"Told from {' and '.join([', '.join(told[:-1]), *told[-1:]] if len(told) > 1 else told)}."


def _spread_figures(
    compared: Sequence[Compared], used: Calibration | None, calibration: Calibration | None
) -> "dict[str, matplotlib.figure.Figure]":
    """Return the figures about σ, as `used` makes it; nothing if there is none."""
    points = {name: scored(compared, observable, raw=used is None) for name, observable in OBSERVABLES.items()}
    points = {name: both for name, both in points.items() if len(both[0])}
    if not points:
        return {}
    pit = {
        _named(name, used): quantile_function(used, OBSERVABLES[name]).pit(error / std)
        for name, (std, error) in points.items()
    }
    figures = {
        "reliability": plots.reliability(pit),
        "pit_histogram": plots.pit_histogram(pit),
        "coverage": plots.coverage(_coverage(compared, calibration)),
    }
    if "force components" in points:
        std, error = points["force components"]
        sigma = quantile_function(used, "forces").sigma
        figures["force_error_against_sigma"] = plots.error_hexbin(sigma * std, error, "eV/Å")
    found = {
        "retrieval": (retrieval_curves(compared, calibration), "atoms"),
        "retrieval_of_structures": (structure_retrieval_curves(compared, calibration), "structures"),
    }
    figures |= _energy_and_force(compared, used)
    return figures | {name: _retrieval(curves, points) for name, (curves, points) in found.items() if curves}


def _named(name: str, used: Calibration | None) -> str:
    """Return the name of an observable, saying so if its spreads alone are raw."""
    return name if used is None or OBSERVABLES[name] in used.quantiles else f"{name}, raw"


def _coverage(compared: Sequence[Compared], calibration: Calibration | None) -> dict[str, dict[float, float]]:
    """Return the share inside intervals of each level, of each observable, calibrated and raw."""
    kinds = {"raw": None} if calibration is None else {"calibrated": calibration, "raw": None}
    shares = {}
    for name, observable in OBSERVABLES.items():
        for kind, used in kinds.items():
            std, error = scored(compared, observable, raw=used is None)
            quantiles = quantile_function(used, observable)
            if len(std) and (used is None or observable in used.quantiles):
                shares[f"{name.removesuffix(' components')}, {kind}"] = {
                    p: float(np.mean(np.abs(error) <= quantiles.width(p) * std))
                    for p in scores.LEVELS
                    if quantiles.supports(p)
                }
    return shares


def _energy_and_force(compared: Sequence[Compared], used: Calibration | None) -> "dict[str, matplotlib.figure.Figure]":
    """Return the figure of both σ, of structures that have both and are not certain of either."""
    kept = [c for c in compared if c.energy_std and c.forces_std is not None and np.any(c.forces_std > 0)]
    if not kept:
        return {}
    forces = [float(np.max(force_sizes(c, used)[1])) for c in kept]
    energies = quantile_function(used, "energy").sigma * np.array([c.energy_std for c in kept])
    groups = [c.group or "(no group)" for c in kept] if any(c.group for c in kept) else None
    return {"energy_and_force_std": plots.energy_and_force_std(energies, np.array(forces), groups)}


def _retrieval(curves: Mapping[str, Curve], points: str) -> "matplotlib.figure.Figure":
    """Return the figure of the curves, thinned out."""
    thin = {}
    for name, (looked, found) in curves.items():
        places = np.unique(np.linspace(0, len(looked) - 1, _CURVE).astype(int))
        thin[name] = looked[places], found[places]
    return plots.retrieval(thin, LARGE, points)
