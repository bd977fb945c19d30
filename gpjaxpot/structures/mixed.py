"""Energies of different calculations in one set: like structures with a constant between them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from gpjaxpot.structures.finding import Finding, listed
from gpjaxpot.structures.force_fit import ForceFit
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.shapes import Shape
from gpjaxpot.units import EV_TO_MEV

_OFFSET = 0.3
"""eV/atom; polymorphs and surfaces differ by less, other functionals or codes by more."""
# The constant must exceed the widths of both parts this many times.
_WIDTHS = 5.0
# And the parts must be alike: their nearest structures no farther than this many times what is usual.
_ALIKE = 3.0
_FEWEST = 3
# Of groups whose energies are held against the forces: eV/atom, widths and standard errors of the constant, structures
# in each. Alike groups of healthy files had at most 1.4 widths and 7 standard errors of those above 1 meV/atom.
_SMALL_OFFSET = 5e-3
_SMALL_WIDTHS = 3.0
_ERRORS = 10.0
_FEWEST_OF_GROUP = 6
# How far the nearest structures of two groups may be, and how much of the forces the model must explain.
_CLOSELY_ALIKE = 1.5
_EXPLAINED = 0.8


_REMEDY = "compute all with the same code, functional, pseudopotentials and cutoffs, or fit them separately"


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
            _REMEDY,
        )


def check_group_offsets(frames: Sequence[Frame], shapes: Sequence[Shape], fit: ForceFit) -> Iterator[Finding]:
    """Yield a warning where a constant is left between two groups, or files, when what the forces tell is taken off.

    That shows offsets far smaller than energies differ by themselves, but only between groups of like structures.

    Args:
        frames: all structures.
        shapes: of each.
        fit: of the forces.
    """
    if fit.share < _EXPLAINED:
        return
    groups: dict[tuple[object, object], tuple[list[int], list[float]]] = {}
    for energy, i in zip(fit.energies, fit.frames.tolist(), strict=True):
        frame = frames[i]
        if frame.labels.energy is not None:
            places, rest = groups.setdefault((composition(frame), (_file(frame), frame.group)), ([], []))
            places.append(i)
            rest.append((frame.labels.energy - energy) / len(frame.structure))
    found = []
    for (one, (a, first)), (other, (b, second)) in combinations(groups.items(), 2):
        if one[0] == other[0] and min(len(a), len(b)) >= _FEWEST_OF_GROUP:
            offset = float(np.median(second) - np.median(first))
            widths = np.array([_robust_width(first), _robust_width(second)])
            error = float(np.hypot(*(widths / np.sqrt([len(a), len(b)]))))
            if abs(offset) > max(_SMALL_OFFSET, _SMALL_WIDTHS * widths.max(), _ERRORS * error):
                found.append((abs(offset), a, b, offset))
    for _, a, b, offset in sorted(found, key=lambda entry: -entry[0]):
        if _alike(shapes, a, b, _CLOSELY_ALIKE):
            few, many = sorted((a, b), key=len)
            above = (offset > 0) == (few is b)
            ours, theirs = (f"group {frames[part[0]].group} ({len(part)})" for part in (few, many))
            if frames[few[0]].group == frames[many[0]].group:
                ours, theirs = (f"{_file(frames[part[0]])} ({len(part)})" for part in (few, many))
            yield Finding(
                "warning",
                "energy-offset",
                f"{len(few)} energies lie {EV_TO_MEV * abs(offset):.2g} meV/atom {'above' if above else 'below'} what "
                f"the forces and the energies of {len(many)} like structures tell: they seem to come of a calculation "
                f"with other settings; {ours} against {theirs}",
                tuple(few),
                _REMEDY,
            )
            return


def _file(frame: Frame) -> str:
    return frame.source.partition(", frame")[0]


def _robust_width(values: Sequence[float]) -> float:
    middle = np.median(values)
    return 1.4826 * float(np.median(np.abs(np.asarray(values) - middle)))


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


def _alike(shapes: Sequence[Shape], low: Sequence[int], high: Sequence[int], limit: float = _ALIKE) -> bool:
    from scipy.spatial import KDTree

    few, many = (np.array([shapes[i].vector for i in part]) for part in sorted((low, high), key=len))
    tree = KDTree(many)
    across = np.median(tree.query(few, k=1)[0])
    within = max(np.median(tree.query(many, k=2)[0][:, 1]), np.median(KDTree(few).query(few, k=2)[0][:, 1]))
    return bool(across <= limit * within)


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
