"""What `evaluate` found, printed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpjaxpot.applications.evaluation_table import evaluation_table, uncertainty_table
from gpjaxpot.cli import report

if TYPE_CHECKING:
    from gpjaxpot.potential.calibration import Calibration

_IDEAL = {"z variance": "1", "miscalibration area": "0"}


def show_evaluation(result: Mapping[str, Any], title: str, raw: bool = False) -> None:
    """Print the errors and, where they were asked for, the scores of the uncertainties, calibrated or `raw`."""
    report.heading(title)
    report.numbers(evaluation_table(result))
    if left_out := result["n_isolated_left_out"]:
        report.line(f"{left_out} isolated atoms, which fix the zero of energy, are left out")
    raw = raw or result["calibration"] is None
    scores = uncertainty_table(result, raw)
    if len(scores) > 1:
        report.heading(f"Uncertainties, {_words(None if raw else result['calibration'])}")
        report.numbers(_upended(scores))
    novelty = result["novelty"]
    if novelty and novelty["n_outside"] and not raw:
        report.line(
            f"{novelty['n_outside']} of {novelty['n_structures']} structures have environments unlike those of the "
            "calibration: what it says of them is extrapolated"
        )
    per_atom = 1e6 * result["seconds_per_atom"]
    report.line(f"\nEnergy, forces and stress took {per_atom:.3g} µs an atom.")


def calibration_words(calibration: "Calibration | None", raw: bool = False) -> str:
    """What the uncertainties of a model are, in a few words."""
    return _words(None if raw or calibration is None else calibration.record)


def _words(record: Mapping[str, Any] | None) -> str:
    return "raw: not calibrated" if record is None else f"calibrated ({record['method']}, on {record['source']})"


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
