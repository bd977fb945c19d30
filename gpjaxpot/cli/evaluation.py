"""What `evaluate` found, printed."""

from collections.abc import Mapping
from typing import Any

from gpjaxpot.applications.evaluation_table import evaluation_table, uncertainty_table
from gpjaxpot.cli import report

_IDEAL = {"z variance": "1", "miscalibration area": "0"}


def show_evaluation(result: Mapping[str, Any], title: str) -> None:
    """Print the errors and, where they were asked for, the scores of the uncertainties."""
    report.heading(title)
    report.numbers(evaluation_table(result))
    if left_out := result["n_isolated_left_out"]:
        report.line(f"{left_out} isolated atoms, which fix the zero of energy, are left out")
    scores = uncertainty_table(result)
    if len(scores) > 1:
        report.heading("Uncertainties, as the model gives them")
        report.numbers(_upended(scores))
    per_atom = 1e6 * result["seconds_per_atom"]
    report.line(f"\nEnergy, forces and stress took {per_atom:.3g} µs an atom.")


def _upended(scores: list[list[str]]) -> list[list[str]]:
    """Return the table with a row for each score, and what it would be at best."""
    (_, *names), *columns, (_, *units) = zip(*scores, strict=True)
    titles = ["", *(f"{name} {unit}" for name, unit in zip(names, units, strict=True))]
    rows = [[score, *values, _ideal(score)] for score, *values in columns]
    return [[*titles, "calibrated"], *rows]


def _ideal(name: str) -> str:
    """Return what a calibrated model has for a score, if that can be said."""
    if name.endswith("% covers"):
        return name.removesuffix(" covers")
    return _IDEAL.get(name, "")
