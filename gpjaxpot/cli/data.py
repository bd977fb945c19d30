"""Data that a command was given: read, told about, and refused where they cannot be used."""

import ast
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpjaxpot.cli import report
from gpjaxpot.errors import InputError
from gpjaxpot.structures.copies import check_fitted
from gpjaxpot.structures.files import check_writable
from gpjaxpot.structures.finding import Finding
from gpjaxpot.structures.io import read_with_summary
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.nearest import check_nearest
from gpjaxpot.structures.rejected import Rejected
from gpjaxpot.structures.structure_check import check_structures

if TYPE_CHECKING:
    from gpjaxpot.potential.potential import Potential

_PYTHON_KEYS = re.compile(r"keys=(\{[^{}]*\})")


def read_data(
    paths: Sequence[Path],
    keys: Sequence[str] | None,
    title: str = "Data",
    labels_required: bool = True,
    rejected: list[Rejected] | None = None,
) -> list[Frame]:
    """Return the frames of the files, having printed what was found in them.

    Where a list `rejected` is given, structures that cannot be used by themselves are put there, and not refused.

    Raises:
        InputError: if they cannot be read, or have no labels where some are required.
    """
    named = _named(keys or [])
    try:
        frames, summary = read_with_summary(
            *paths, keys=named, labels_required=labels_required, rejected=rejected
        )
    except InputError as error:
        raise InputError(as_options(str(error))) from error
    report.heading(title)
    report.pairs((text[:7].strip(), as_options(text[7:])) for text in summary.table())
    return frames


def show_findings(findings: Sequence[Finding]) -> None:
    """Print what is suspicious, each with its remedy below; `refuse_faults` tells the errors."""
    report.heading("Findings")
    if not findings:
        report.line("nothing suspicious")
    _show(findings)


def warn_of_fitted(potential: "Potential", frames: Sequence[Frame]) -> None:
    """Print a warning if the potential was fitted to some of the structures; older models do not know theirs."""
    findings = check_fitted(potential.summary().get("structure_marks", ()), frames)
    if findings:
        _show(findings)


def warn_of_nearer(least: Mapping[str, float], frames: Sequence[Frame]) -> frozenset[int]:
    """Print a warning if atoms are nearer than `least` (Å, by pair); return the places of these structures."""
    findings = check_nearest(least, frames)
    if findings:
        _show(findings)
    return frozenset(i for finding in findings for i in finding.frames)


def _show(findings: Sequence[Finding]) -> None:
    rows = []
    for finding in findings:
        if finding.level != "error":
            rows += [(finding.level, finding.message), ("", f"→ {finding.remedy}")]
    report.pairs(rows)


def refuse_faults(findings: Sequence[Finding]) -> None:
    """Raise an InputError with all findings that forbid a fit, if there are any."""
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        texts = "\n".join(f"  {finding.message}\n    → {finding.remedy}{_or_drop(finding)}" for finding in errors)
        raise InputError(f"these data must not be fitted:\n{texts}")


def _or_drop(finding: Finding) -> str:
    return "; or leave them out: --drop-bad rejected.xyz" if finding.droppable else ""


def refuse_bad_structures(frames: Sequence[Frame]) -> None:
    """Raise an InputError if atoms lie on each other or a number is not finite."""
    for finding in check_structures(frames):
        if finding.level == "error":
            raise InputError(f"{finding.message}: {finding.remedy}")


def check_output(output: Path, inputs: Sequence[Path | None]) -> None:
    """Raise an InputError if `output` is one of the inputs, or could not be written later."""
    for path in inputs:
        if path is not None and os.path.realpath(path) == os.path.realpath(output):
            raise InputError(f"{output} is read and would be overwritten: name another file for the output")
    check_writable(output)


def _named(keys: Sequence[str]) -> dict[str, str]:
    """Return `energy=dft_energy` and the like as a dictionary."""
    named = {}
    for text in keys:
        label, equals, name = text.partition("=")
        if not (equals and label and name):
            raise InputError(f"--key wants LABEL=NAME, as in energy=dft_energy; got '{text}'")
        named[label.strip()] = name.strip()
    return named


def as_options(text: str) -> str:
    """Return a message of the Python interface with the remedy that this one has."""

    def options(match: re.Match[str]) -> str:
        named = ast.literal_eval(match[1])
        return " ".join(f"--key {label}={name}" for label, name in named.items())

    return _PYTHON_KEYS.sub(options, text).replace("name it with keys", "name it with --key")
