"""Faults of structures themselves, whatever was computed for them."""

from collections.abc import Iterator, Sequence

import numpy as np

from gpjaxpot.structures.distances import closest_pair, vacuum
from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.finding import Finding, Level, listed
from gpjaxpot.structures.labels import Frame

OVERLAP = 0.3
"""Å; nuclei nearer than this are a mistake in any material."""
CLOSE = 0.5
"""Share of the sum of two covalent radii below which a distance is suspicious."""
WIDE = 1.6
"""The same share, above which even the nearest atoms of every structure are suspicious."""
VACUUM = 8.0
"""Å of empty space that make a periodic structure a slab."""

# Held together by dispersion, at twice the covalent radii.
_NOBLE = (2, 10, 18, 36, 54, 86)


def check_structures(frames: Sequence[Frame]) -> Iterator[Finding]:
    """Yield an error for values that are not finite or overlapping atoms, warnings for odd distances."""
    if not frames:
        yield Finding("error", "empty", "there are no structures", (), "give some")
        return
    yield from _check_finite(frames)
    yield from _check_distances(frames)
    yield from _check_lengths(frames)


def check_slabs(frames: Sequence[Frame]) -> Iterator[Finding]:
    """Yield a note on stresses of structures with empty space."""
    found = [
        i
        for i, frame in enumerate(frames)
        if frame.labels.stress is not None and vacuum(frame.structure) > VACUUM
    ]
    if found:
        yield Finding(
            "note",
            "slab-stress",
            f"{len(found)} structures with a stress have more than {VACUUM:g} Å of vacuum "
            f"({_places(frames, found)}): their stress depends on how much vacuum there is",
            tuple(found),
            "consistent for a periodic cell; do not compare it with that of the bulk",
        )


def _check_finite(frames: Sequence[Frame]) -> Iterator[Finding]:
    # Structures and labels refuse such values when they are made, but not when a program
    # changes a field afterwards.
    for i, frame in enumerate(frames):
        labels = frame.labels
        values = {
            "positions": frame.structure.positions,
            "cell": frame.structure.cell,
            "energy": labels.energy,
            "forces": labels.forces,
            "stress": labels.stress,
        }
        for name, value in values.items():
            if value is not None and not np.isfinite(value).all():
                yield Finding(
                    "error",
                    "not-finite",
                    f"{name} of {_places(frames, [i])} have values that are not finite",
                    (i,),
                    "correct them, or remove the label or the structure",
                    droppable=True,
                )


def _check_distances(frames: Sequence[Frame]) -> Iterator[Finding]:
    overlaps, near = [], []
    for i, frame in enumerate(frames):
        if not _finite(frame):
            continue
        pair = closest_pair(frame.structure, CLOSE)
        if pair is not None:
            (overlaps if pair.distance < OVERLAP else near).append((pair.share, i, pair))
    mend = "remove these structures, or mend cell and positions"
    if len(overlaps) > len(frames) / 2:
        mend += "; where all are so, the positions may be in nm or fractions of the cell: give them in Å"
    kinds: tuple[tuple[Level, str, list, str], ...] = (
        ("error", "overlap", overlaps, mend),
        ("warning", "close", near, "check them; if they are meant, keep them"),
    )
    for level, code, found, remedy in kinds:
        if found:
            _, worst, pair = min(found, key=lambda entry: entry[0])
            numbers = frames[worst].structure.numbers
            indices = [i for _, i, _ in found]
            yield Finding(
                level,
                code,
                f"{len(found)} structures have atoms too near to each other "
                f"({_places(frames, indices)}); "
                f"nearest: atoms {pair.first} ({symbol(int(numbers[pair.first]))}) and "
                f"{pair.second} ({symbol(int(numbers[pair.second]))}), {pair.distance:.3f} Å, "
                f"in {_places(frames, [worst])}",
                tuple(indices),
                remedy,
                droppable=True,
            )


def _check_lengths(frames: Sequence[Frame]) -> Iterator[Finding]:
    # Dimers pulled apart and isolated atoms say nothing; a whole set without a bond does.
    places, shares = [], []
    for i, frame in enumerate(frames):
        structure = frame.structure
        bonded = len(structure) > 2 or any(structure.pbc)
        if bonded and not np.isin(structure.numbers, _NOBLE).any() and _finite(frame):
            pair = closest_pair(structure, 3.0)
            places.append(i)
            shares.append(np.inf if pair is None else pair.share)
    if len(shares) >= 3 and np.percentile(shares, 10) > WIDE:
        yield Finding(
            "warning",
            "length-units",
            f"the nearest atoms are {np.median(shares):.1f} times the sum of their covalent radii apart, in nearly "
            f"all of {len(shares)} structures",
            tuple(places),
            "if positions and cells are in bohr, multiply them by 0.5292; if only the cells are wrong, mend these",
        )


def _finite(frame: Frame) -> bool:
    return bool(np.isfinite(frame.structure.positions).all() and np.isfinite(frame.structure.cell).all())


def _places(frames: Sequence[Frame], indices: Sequence[int]) -> str:
    return listed([frames[i].source or f"structure {i}" for i in indices])
