"""Structures that a command leaves out because it was told to: which, why, and a file of them."""

import os
from collections.abc import Sequence
from pathlib import Path

from gpjaxpot.cli import report
from gpjaxpot.cli.data import as_options, check_output
from gpjaxpot.errors import InputError
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.rejected import Rejected, check_few, check_place, leave_out, write_rejected


class Dropping:
    """What `--drop-bad F.xyz` asks for: bad structures are left out, each is told, and all are written to that file.

    Does nothing, and has all bad structures refused, where no file is named.
    """

    def __init__(self, path: Path | None, inputs: Sequence[Path | None], output: Path | None = None):
        """Refuse, before any work, a place that could not be written or that holds something else.

        Args:
            path: where the structures are written.
            inputs: files that are read.
            output: what the command writes beside it.
        """
        self.path = path
        self.rejected: list[Rejected] | None = None if path is None else []
        if path is not None:
            check_output(path, inputs)
            if output is not None and os.path.realpath(path) == os.path.realpath(output):
                raise InputError(f"{path} is named twice: give the output and what is left out files of their own")
            check_place(path)

    def left(self, frames: Sequence[Frame]) -> list[Frame]:
        """Return the frames without the bad ones, having told which these are, those too that could not be read."""
        if self.rejected is None:
            return list(frames)
        n = len(frames) + len(self.rejected)
        kept, bad = leave_out(frames)
        self.rejected += bad
        check_few(self.rejected, n)
        if not self.rejected:
            report.line(f"\nNo structure has to be left out; {self.path} is not written.")
            return kept
        report.heading(f"Left out: {len(self.rejected)} of {n} structures")
        report.pairs([(f"{place}.", as_options(one.told)) for place, one in enumerate(self.rejected, start=1)])
        return kept

    def write(self) -> None:
        """Write what was left out, if anything was."""
        if self.path is not None and self.rejected:
            write_rejected(self.path, self.rejected)
            report.line(f"\nwrote  {self.path} (the structures left out, each with the reason)")
