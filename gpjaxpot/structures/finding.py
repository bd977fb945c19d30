"""Something a person should know about a data set, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One diagnosis: an error must not be fitted, a warning should be looked at.

    `code` names the kind, `frames` are the indices of the structures concerned; `droppable` says
    whether it is gone when these are left out, and not a fault of the set as a whole.
    """

    level: Level
    code: str
    message: str
    frames: tuple[int, ...] = ()
    remedy: str = ""
    droppable: bool = False

    def __str__(self) -> str:
        """Return the finding as one line of text."""
        remedy = f": {self.remedy}" if self.remedy else ""
        return f"{self.level} [{self.code}] {self.message}{remedy}"


def listed(sources: Sequence[str], most: int = 3) -> str:
    """Return the first few places and how many more there are."""
    shown = ", ".join(sources[:most])
    return shown if len(sources) <= most else f"{shown} and {len(sources) - most} more"
