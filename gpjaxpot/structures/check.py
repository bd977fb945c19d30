"""Faults of a data set, found before they spoil a fit."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gpjaxpot.structures.distances import closest_pair, vacuum
from gpjaxpot.structures.duplicates import check_duplicates
from gpjaxpot.structures.elements import symbol, symbols
from gpjaxpot.structures.finding import LEVELS, Finding, Level, listed
from gpjaxpot.structures.labels import Frame, is_isolated_group
from gpjaxpot.structures.outliers import check_energies, check_forces
from gpjaxpot.structures.reference import composition_rank

OVERLAP = 0.3
"""Å; nuclei nearer than this are a mistake in any material."""
CLOSE = 0.5
"""Share of the sum of two covalent radii below which a distance is suspicious."""
NET_FORCE = 0.05
"""eV/Å; a total force larger than this is no derivative of an energy."""
VACUUM = 8.0
"""Å of empty space that make a periodic structure a slab."""

_Check = Callable[[Sequence[Frame]], Iterator[Finding]]


def check(frames: Sequence[Frame]) -> list[Finding]:
    """Return everything suspicious about the structures, the gravest first.

    An "error" makes a set unfit for fitting: values that are not finite, overlapping atoms,
    one structure with two contradicting sets of labels. A "warning" should be looked at, a
    "note" be known. Takes some seconds for 10⁵ atoms; nothing is changed or dropped.
    """
    if not frames:
        return [Finding("error", "empty", "there are no structures", (), "give some")]
    checks: tuple[_Check, ...] = (
        _check_finite,
        _check_distances,
        check_duplicates,
        check_forces,
        check_energies,
        _check_net_force,
        _check_labels,
        _check_groups,
        _check_compositions,
        _check_slabs,
    )
    findings = [finding for one in checks for finding in one(frames)]
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def _places(frames: Sequence[Frame], indices: Sequence[int]) -> str:
    return listed([frames[i].source or f"structure {i}" for i in indices])


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
                )


def _check_distances(frames: Sequence[Frame]) -> Iterator[Finding]:
    overlaps, near = [], []
    for i, frame in enumerate(frames):
        if not np.isfinite(frame.structure.positions).all():
            continue
        pair = closest_pair(frame.structure, CLOSE)
        if pair is not None:
            (overlaps if pair.distance < OVERLAP else near).append((pair.share, i, pair))
    kinds: tuple[tuple[Level, str, list, str], ...] = (
        ("error", "overlap", overlaps, "remove these structures, or mend cell and positions"),
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
            )


def _check_net_force(frames: Sequence[Frame]) -> Iterator[Finding]:
    net = {
        i: float(np.linalg.norm(frame.labels.forces.sum(axis=0)))
        for i, frame in enumerate(frames)
        if frame.labels.forces is not None
    }
    found = [i for i, size in net.items() if size > NET_FORCE]
    if found:
        worst = max(found, key=net.__getitem__)
        yield Finding(
            "warning",
            "net-force",
            f"the forces of {len(found)} structures do not add up to zero, worst "
            f"{net[worst]:.2f} eV/Å in {_places(frames, [worst])}; no potential can follow them",
            tuple(found),
            "noisy forces are fitted with noise; else look for fixed atoms, an external field or "
            "missing atoms",
        )


def _check_labels(frames: Sequence[Frame]) -> Iterator[Finding]:
    for label in ("energy", "forces", "stress"):
        lack = [i for i, f in enumerate(frames) if getattr(f.labels, label) is None]
        # A stress belongs to periodic structures, forces of one atom alone are no news.
        lack = [
            i
            for i in lack
            if not (label == "stress" and not all(frames[i].structure.pbc))
            and not (label != "energy" and frames[i].isolated)
        ]
        have = sum(getattr(f.labels, label) is not None for f in frames)
        if lack:
            text = (
                f"no structure has {label}" if not have else f"{len(lack)} structures lack {label}"
            )
            where = "" if not have else f" ({_places(frames, lack)})"
            yield Finding("note", f"no-{label}", f"{text}{where}", tuple(lack), "nothing to do")


def _check_groups(frames: Sequence[Frame]) -> Iterator[Finding]:
    wrong = [i for i, f in enumerate(frames) if is_isolated_group(f.group) and len(f.structure) > 1]
    if wrong:
        yield Finding(
            "warning",
            "not-isolated",
            f"{len(wrong)} structures are called isolated atoms but have more than one atom "
            f"({_places(frames, wrong)})",
            tuple(wrong),
            "they are used as ordinary structures; correct config_type",
        )


def _check_compositions(frames: Sequence[Frame]) -> Iterator[Finding]:
    structures = [frame.structure for frame in frames]
    alone = {int(f.structure.numbers[0]) for f in frames if f.isolated}
    species = sorted({int(z) for s in structures for z in np.unique(s.numbers)})
    lack = [z for z in species if z not in alone]
    rank = composition_rank(structures)
    if not rank.determined:
        yield Finding(
            "note",
            "collinear",
            f"the compositions determine only {rank.rank} of {rank.n_species} energies per species "
            f"(no isolated atom of {symbols(lack)})",
            (),
            "give isolated atoms or energies per species, or predict only compositions like these",
        )


def _check_slabs(frames: Sequence[Frame]) -> Iterator[Finding]:
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
