"""Copies of a structure, turned, moved or in another order, within a set and between two sets."""

from collections.abc import Collection, Iterator, Sequence

from gpjaxpot.structures.duplicates import fingerprint, mark
from gpjaxpot.structures.finding import Finding, listed
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.shapes import SAME, Shape, copies, shape

# eV/atom; copies may differ in all distances by `SAME`, which moves an energy by less.
_ENERGY = 0.02


def check_copies(frames: Sequence[Frame], shapes: Sequence[Shape]) -> Iterator[Finding]:
    """Yield a note on copies that are not in the file twice to the letter; a warning if energies contradict.

    Those that are, `check_duplicates` tells.
    """
    pairs = [
        (i, j)
        for i, j in copies(shapes)
        if len(frames[i].structure) > 1 and fingerprint(frames[i]) != fingerprint(frames[j])
    ]
    against = [pair for pair in pairs if _gap(frames, *pair) > _ENERGY]
    if against:
        i, j = max(against, key=lambda pair: _gap(frames, *pair))
        yield Finding(
            "warning",
            "copy-contradiction",
            f"{len(against)} structures are copies of others, turned, moved or reordered, with another energy, worst "
            f"{_place(frames, j)} and {_place(frames, i)}: {_gap(frames, i, j):.3g} eV/atom",
            tuple(sorted({k for pair in against for k in pair})),
            "keep the right one; if the settings of the calculation differ, do not mix them",
        )
    rest = sorted({i for i, j in pairs if (i, j) not in against})
    if rest:
        yield Finding(
            "note",
            "copy",
            f"{len(rest)} structures are copies of others within {SAME:g} Å, turned, moved or reordered "
            f"({listed([_place(frames, i) for i in rest])})",
            tuple(rest),
            "they teach nothing new; keep one of each, and never part them between training and test",
        )


def check_leakage(train: Sequence[Frame], test: Sequence[Frame]) -> list[Finding]:
    """Return a warning if structures of `test` stand in `train`, also turned, moved or reordered.

    Errors on them say nothing about new structures. `frames` of the finding are places in `test`.
    Single atoms are left out; takes about a second for 10⁵ atoms.
    """
    known: dict[bytes, int] = {}
    for i, frame in enumerate(train):
        known.setdefault(fingerprint(frame), i)
    inside = [i for i, frame in enumerate(train) if len(frame.structure) > 1]
    outside = [i for i, frame in enumerate(test) if len(frame.structure) > 1]
    exact = {i: known[fingerprint(test[i])] for i in outside if fingerprint(test[i]) in known}
    shapes = [shape(test[i].structure) for i in outside]
    turned = {
        outside[i]: inside[j] for i, j in copies(shapes, [shape(train[j].structure) for j in inside])
    }
    found = {**turned, **exact}
    if not found:
        return []
    first = min(found)
    turned_only = len(found) - len(exact)
    detail = f", {turned_only} of them turned, moved or reordered" if turned_only else ""
    return [
        Finding(
            "warning",
            "leakage",
            f"{len(found)} of {len(test)} test structures stand in the training data{detail}; first "
            f"{_place(test, first)}, which is {_place(train, found[first])}",
            tuple(sorted(found)),
            "remove them from the test data: their errors say nothing about new structures; of trajectories, part "
            "whole blocks",
        )
    ]


def check_fitted(marks: Collection[str], frames: Sequence[Frame]) -> list[Finding]:
    """Return a warning if structures of `frames` are, to the letter, among those that a model was fitted to.

    `marks` are those of the latter (`gpjaxpot.structures.duplicates.mark`). Single atoms are left out.
    """
    known = set(marks)
    found = tuple(i for i, frame in enumerate(frames) if len(frame.structure) > 1 and mark(frame) in known)
    if not found:
        return []
    return [
        Finding(
            "warning",
            "fitted",
            f"the model was fitted to {len(found)} of these {len(frames)} structures "
            f"({listed([_place(frames, i) for i in found])})",
            found,
            "take structures that it does not know: errors on these are too small, and uncertainties would be made so",
        )
    ]


def _gap(frames: Sequence[Frame], i: int, j: int) -> float:
    a, b = frames[i].labels.energy, frames[j].labels.energy
    return 0.0 if a is None or b is None else abs(a - b) / len(frames[i].structure)


def _place(frames: Sequence[Frame], i: int) -> str:
    return frames[i].source or f"structure {i}"
