"""Energies of different calculations in one set: like structures with a constant between them."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from gpjaxpot.structures.finding import Finding, listed
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.shapes import Shape

_OFFSET = 0.3
"""eV/atom; polymorphs and surfaces differ by less, other functionals or codes by more."""
# The constant must exceed the widths of both parts this many times.
_WIDTHS = 5.0
# And the parts must be alike: their nearest structures no farther than this many times what is usual.
_ALIKE = 3.0
_FEWEST = 3


def composition(frame: Frame) -> tuple[tuple[int, int], ...]:
    """Return atomic numbers and their counts, divided by what is common to all counts."""
    numbers, counts = np.unique(frame.structure.numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return tuple(zip(numbers.tolist(), counts.tolist(), strict=True))


def check_offsets(frames: Sequence[Frame], shapes: Sequence[Shape]) -> Iterator[Finding]:
    """Yield a warning where structures of one composition fall into two far apart in energy.

    Only if the two are alike in their distances: dimers lie far above the bulk, and rightly so.
    """
    where: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for i, frame in enumerate(frames):
        if frame.labels.energy is not None and not frame.isolated:
            where.setdefault(composition(frame), []).append(i)
    for members in where.values():
        parts = _parts(frames, members)
        if parts is None or not _alike(shapes, *parts):
            continue
        low, high = parts
        few, many = sorted((low, high), key=len)
        offset = np.median(_per_atom(frames, high)) - np.median(_per_atom(frames, low))
        yield Finding(
            "warning",
            "energy-offset",
            f"{len(few)} energies lie {offset:.3g} eV/atom {'above' if few is high else 'below'} those of "
            f"{len(many)} like structures of the same composition, with nothing between: they seem to come from "
            f"another calculation; {_told(frames, few)} against {_told(frames, many)}",
            tuple(few),
            "compute all with the same code, functional, pseudopotentials and cutoffs, or fit them separately",
        )


def _parts(frames: Sequence[Frame], members: Sequence[int]) -> tuple[list[int], list[int]] | None:
    """Return the places below and above the widest gap, if that is wide enough."""
    values = _per_atom(frames, members)
    order = np.argsort(values, kind="stable")
    if len(members) < 2 * _FEWEST:
        return None
    gaps = np.diff(values[order])
    gaps[: _FEWEST - 1] = gaps[len(gaps) - _FEWEST + 1 :] = 0.0
    cut = int(np.argmax(gaps)) + 1
    low, high = values[order[:cut]], values[order[cut:]]
    width = max(_width(low), _width(high))
    if gaps[cut - 1] < max(_OFFSET, _WIDTHS * width):
        return None
    return [members[k] for k in np.sort(order[:cut])], [members[k] for k in np.sort(order[cut:])]


def _alike(shapes: Sequence[Shape], low: Sequence[int], high: Sequence[int]) -> bool:
    from scipy.spatial import KDTree

    few, many = (np.array([shapes[i].vector for i in part]) for part in sorted((low, high), key=len))
    tree = KDTree(many)
    across = np.median(tree.query(few, k=1)[0])
    within = max(np.median(tree.query(many, k=2)[0][:, 1]), np.median(KDTree(few).query(few, k=2)[0][:, 1]))
    return bool(across <= _ALIKE * within)


def _told(frames: Sequence[Frame], places: Sequence[int]) -> str:
    """Return the groups of the structures, or the files, or the first of them."""
    groups = Counter(frames[i].group for i in places)
    if None not in groups and len(groups) <= 3:
        return "group " + ", ".join(f"{name} ({count})" for name, count in groups.most_common())
    return listed([frames[i].source or f"structure {i}" for i in places])


def _per_atom(frames: Sequence[Frame], places: Sequence[int]) -> np.ndarray:
    return np.array([(frames[i].labels.energy or 0.0) / len(frames[i].structure) for i in places])


def _width(values: np.ndarray) -> float:
    return float(np.percentile(values, 84) - np.percentile(values, 16)) / 2
