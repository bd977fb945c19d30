"""What a fit chose where no setting said it, and why."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpjaxpot.potential.potential import Potential

MOST_SUSPECTS = 5


def show_choices(potential: "Potential") -> None:
    """Print setting, value and reason of each choice; nothing if there was none."""
    from gpjaxpot.cli import report

    choices = potential.summary()["choices"]
    if choices:
        report.heading("Choices")
        rows = [[_text(choice[field]) for field in ("key", "value", "reason")] for choice in choices]
        report.texts([["setting", "value", "why"], *rows])
    suspects = potential.summary().get("suspects") or []
    if suspects:
        report.line("\nFar from what the other structures predict, and trained on like all (look at\ntheir labels):")
        for suspect in suspects[:MOST_SUSPECTS]:
            report.line(f"  {suspect['structure']}:\n    {suspect['misfit']:g} times as far, in σ, as is usual")
        if len(suspects) > MOST_SUSPECTS:
            report.line(f"  and {len(suspects) - MOST_SUSPECTS} more, in the summary of the model")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
