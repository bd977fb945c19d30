"""Structures that stand in a data set more than once, and whether their labels agree."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from gpjaxpot.structures.finding import Finding, listed
from gpjaxpot.structures.labels import Frame

# Coordinates (Å) are compared after rounding to this; files keep 1e-6 to 1e-8.
_GRID = 1e-5
# What two converged calculations of one structure may differ by; more is a contradiction.
_ENERGY_PER_ATOM = 2e-3
_FORCE = 0.02
_STRESS = 2e-3


def check_duplicates(frames: Sequence[Frame]) -> Iterator[Finding]:
    """Yield a note on exact duplicates, and an error where their labels contradict."""
    same: dict[bytes, list[int]] = {}
    for i, frame in enumerate(frames):
        same.setdefault(fingerprint(frame), []).append(i)
    groups = [group for group in same.values() if len(group) > 1]
    against = [(a, b, text) for group in groups for a, b, text in _contradictions(frames, group)]
    if against:
        a, b, text = against[0]
        yield Finding(
            "error",
            "contradiction",
            f"{len(against)} structures stand in the data again with other labels, first "
            f"{_place(frames, a)} and {_place(frames, b)}: {text}",
            tuple(sorted({i for a, b, _ in against for i in (a, b)})),
            "keep the right one; if the settings of the calculation differ, do not mix them",
            droppable=True,
        )
    spare = [i for group in groups for i in group[1:]]
    if spare:
        yield Finding(
            "warning",
            "duplicate",
            f"{len(spare)} structures stand in the data more than once "
            f"({listed([_place(frames, i) for i in spare])})",
            tuple(spare),
            "keep one of each: a copy makes the model too sure of it",
        )


def fingerprint(frame: Frame) -> bytes:
    """Return bytes that are equal for equal species, positions, cell and pbc, in this order."""
    structure = frame.structure
    coordinates = np.concatenate([structure.positions, structure.cell])
    # Adding 0 makes -0 and 0 the same bytes.
    grid = np.rint(coordinates / _GRID) + 0.0
    return structure.numbers.tobytes() + grid.tobytes() + bytes(structure.pbc)


def mark(frame: Frame) -> str:
    """Return 16 hexadecimal digits that stand for the structure's `fingerprint`, to be kept where it is too long."""
    return hashlib.sha256(fingerprint(frame)).hexdigest()[:16]


def _place(frames: Sequence[Frame], i: int) -> str:
    return frames[i].source or f"structure {i}"


def _contradictions(
    frames: Sequence[Frame], group: Sequence[int]
) -> Iterator[tuple[int, int, str]]:
    first, *others = group
    for other in others:
        text = _difference(frames[first], frames[other])
        if text:
            yield first, other, text


def _difference(a: Frame, b: Frame) -> str:
    n = len(a.structure)
    for label, scale, limit, unit in (
        ("energy", n, _ENERGY_PER_ATOM, "eV/atom"),
        ("forces", 1, _FORCE, "eV/Å"),
        ("stress", 1, _STRESS, "eV/Å³"),
    ):
        one, two = getattr(a.labels, label), getattr(b.labels, label)
        if one is not None and two is not None:
            gap = float(np.max(np.abs(np.asarray(one) - np.asarray(two)))) / scale
            if gap > limit:
                return f"{label} differ by {gap:.4g} {unit}"
    return ""
