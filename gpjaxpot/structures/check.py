"""Faults of a data set, found before they spoil a fit."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gpjaxpot.structures.copies import check_copies
from gpjaxpot.structures.duplicates import check_duplicates
from gpjaxpot.structures.elements import symbols
from gpjaxpot.structures.finding import LEVELS, Finding, listed
from gpjaxpot.structures.force_fit import fit_forces
from gpjaxpot.structures.labels import Frame, is_isolated_group
from gpjaxpot.structures.mixed import check_group_offsets, check_offsets
from gpjaxpot.structures.neighbouring_work import neighbouring_works
from gpjaxpot.structures.outliers import check_energies, check_forces
from gpjaxpot.structures.placeholders import check_placeholders
from gpjaxpot.structures.reference import composition_rank
from gpjaxpot.structures.residual_check import check_related, check_residuals
from gpjaxpot.structures.shapes import shape
from gpjaxpot.structures.size_check import check_sizes
from gpjaxpot.structures.structure_check import check_slabs, check_structures
from gpjaxpot.structures.units_check import check_units, energies_of_fit

NET_FORCE = 0.05
"""eV/Å; a total force larger than this is no derivative of an energy."""

# With any of these, energies are no integral of the forces: one word of it is enough.
_OF_ENERGIES = frozenset(
    {
        "force-sign", "energy-per-atom", "force-energy-units", "force-energy-slope", "energy-outlier", "energy-offset",
        "zero-energy", "constant-energy", "zero-forces",
    }
)  # fmt: skip

_Check = Callable[[Sequence[Frame]], Iterator[Finding]]


def check(frames: Sequence[Frame]) -> list[Finding]:
    """Return everything suspicious about the structures, the gravest first.

    An "error" makes a set unfit for fitting: values that are not finite, overlapping atoms,
    one structure with two contradicting sets of labels, forces, energies or stresses that
    contradict each other by a sign or a unit. A "warning" should be looked at, a "note" be
    known. Takes seconds, half a minute for 10⁵ atoms; nothing is changed or dropped.
    """
    findings = list(check_structures(frames))
    if not any(finding.level == "error" for finding in findings):
        findings += _check_all_labels(frames)
    else:
        findings += [finding for one in _QUICK for finding in one(frames)]
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def _check_all_labels(frames: Sequence[Frame]) -> list[Finding]:
    """Return what all checks say, those too that need sound structures."""
    findings = [finding for one in _QUICK for finding in one(frames)]
    shapes = [shape(frame.structure) for frame in frames]
    findings += [*check_copies(frames, shapes), *check_offsets(frames, shapes)]
    fit, works = fit_forces(frames), neighbouring_works(frames)
    units = [] if fit is None else list(check_units(frames, fit, works))
    # What is wrong by a known factor is also of an odd size; one word of it is enough.
    findings += units or check_sizes(frames)
    if fit is not None and not _of_energies(findings):
        findings += check_group_offsets(frames, shapes, fit)
    if not _of_energies(findings):
        unrelated = [] if fit is None else list(check_related(frames, fit, energies_of_fit(frames, fit)))
        findings += unrelated or check_residuals(frames, works)
    return findings


def _of_energies(findings: Sequence[Finding]) -> bool:
    return any(finding.code in _OF_ENERGIES for finding in findings)


def _places(frames: Sequence[Frame], indices: Sequence[int]) -> str:
    return listed([frames[i].source or f"structure {i}" for i in indices])


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


_QUICK: tuple[_Check, ...] = (
    check_duplicates,
    check_forces,
    check_energies,
    check_placeholders,
    _check_net_force,
    _check_labels,
    _check_groups,
    _check_compositions,
    check_slabs,
)
