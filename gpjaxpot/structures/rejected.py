"""Structures that are left out because somebody asked for it: where each stood, why, and its text."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpjaxpot.errors import InputError
from gpjaxpot.structures.duplicates import check_duplicates
from gpjaxpot.structures.extxyz_text import format_frame, label_values, quoted
from gpjaxpot.structures.files import atomic_write
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.structure_check import check_structures

KEY = "rejected"
"""Of the reason, in the comment line."""
MOST = 0.5
"""Share of a data set; where more is at fault, the fault is the set's."""


@dataclass(frozen=True)
class Rejected:
    """A structure that is left out: its place, the reason, and the frame as extended XYZ ("" if it cannot be)."""

    source: str
    reason: str
    text: str

    @property
    def told(self) -> str:
        """The reason, and the place if the reason does not name it."""
        # A reason may name another line of the same frame, but frame 1 is not frame 12.
        place = self.source.partition(" (line")[0]
        named = re.search(rf"{re.escape(place)}(?!\d)", self.reason)
        return self.reason if named else f"{self.source}: {self.reason}"


def leave_out(frames: Sequence[Frame]) -> tuple[list[Frame], list[Rejected]]:
    """Return the frames without those that the doctor calls errors by themselves, and these.

    They are the ones with values that are not finite, overlapping atoms, or a second set of labels that contradicts the
    first, of which both are left out. Errors of the whole set, such as a wrong unit, are not mended.
    """
    reasons: dict[int, str] = {}
    for finding in (*check_structures(frames), *check_duplicates(frames)):
        if finding.level == "error" and finding.droppable:
            for i in finding.frames:
                alone = (own.message for own in check_structures([frames[i]]) if own.code == finding.code)
                reasons.setdefault(i, next(alone, finding.message))
    rejected = []
    for i in sorted(reasons):
        text = format_frame(frames[i].structure, *label_values(frames[i]))
        rejected.append(Rejected(frames[i].source or f"structure {i}", reasons[i], text))
    return [frame for i, frame in enumerate(frames) if i not in reasons], rejected


def check_few(rejected: Sequence[Rejected], n: int) -> None:
    """Raise an InputError if more than half of `n` structures are rejected: then not they are at fault."""
    if len(rejected) > MOST * n:
        raise InputError(
            f"{len(rejected)} of {n} structures would be left out, which is no longer the same data set: what is wrong "
            f"with so many is wrong with the file; mend it. The first is {rejected[0].told}"
        )


def check_place(path: str | os.PathLike[str]) -> None:
    """Raise an InputError if `path` is a file that `write_rejected` did not write."""
    file = Path(path)
    if not file.is_file() or file.stat().st_size == 0:
        return
    with open(file, encoding="utf-8", errors="replace") as lines:
        next(lines)
        ours = f" {KEY}=" in next(lines, "")
    if not ours:
        raise InputError(f"{file} is there already, and is no file of rejected structures: name another")


def write_rejected(path: str | os.PathLike[str], rejected: Sequence[Rejected]) -> None:
    """Write the structures as they stood, with the key `rejected` for the reason, whole or not at all.

    Raises:
        InputError: if the file cannot be written.
    """
    with atomic_write(path) as out:
        for one in rejected:
            if one.text:
                count, comment, rest = one.text.split("\n", 2)
                out.write(f"{count}\n{comment} {KEY}={quoted(one.told)}\n{rest}")
