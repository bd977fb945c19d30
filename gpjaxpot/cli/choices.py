"""What a fit chose where no setting said it, and why."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpjaxpot.potential.potential import Potential


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
        named = ", ".join(f"{s['structure']} ({s['misfit']:g} times as far off as usual)" for s in suspects[:5])
        more = f" and {len(suspects) - 5} more" if len(suspects) > 5 else ""
        report.line(f"\nLabels that the other structures contradict, trained on like all: {named}{more}")


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return f"{value:.6g}" if isinstance(value, float) else str(value)
