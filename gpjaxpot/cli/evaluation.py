"""What `evaluate` found, printed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpjaxpot.applications.evaluation_table import evaluation_table, provenance, scores_by_row, uncertainty_table
from gpjaxpot.cli import report

if TYPE_CHECKING:
    from gpjaxpot.potential.calibration import Calibration


def show_evaluation(result: Mapping[str, Any], title: str, raw: bool = False) -> None:
    """Print the errors and, where they were asked for, the scores of the uncertainties, calibrated or `raw`."""
    report.heading(title)
    report.numbers(evaluation_table(result))
    if left_out := result["n_isolated_left_out"]:
        report.line(f"{left_out} isolated atoms, which fix the zero of energy, are left out")
    raw = raw or result["calibration"] is None
    scores = uncertainty_table(result, raw)
    if len(scores) > 1:
        report.heading(f"Uncertainties, {provenance(None if raw else result['calibration'])}")
        report.numbers(scores_by_row(scores))
    novelty = result["novelty"]
    if novelty and novelty["n_outside"] and not raw:
        report.line(
            f"{novelty['n_outside']} of {novelty['n_structures']} structures are unlike those of the calibration,\n"
            "in some environment or as a whole: what it says of them is extrapolated"
        )
    per_atom = 1e6 * result["seconds_per_atom"]
    report.line(f"\nEnergy, forces and stress took {per_atom:.3g} µs an atom.")


def calibration_words(calibration: "Calibration | None", raw: bool = False) -> str:
    """What the uncertainties of a model are, in a few words."""
    return provenance(None if raw or calibration is None else calibration.record)
