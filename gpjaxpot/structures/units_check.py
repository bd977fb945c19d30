"""Signs and units of labels, told by whether energies, forces and stresses belong together."""

from collections.abc import Iterator, Sequence

import numpy as np

from gpjaxpot import units
from gpjaxpot.structures.finding import Finding
from gpjaxpot.structures.force_fit import ForceFit
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.mixed import composition
from gpjaxpot.structures.neighbouring_work import Works, trusted_slope, unrelated
from gpjaxpot.structures.slope import Slope, energy_slope
from gpjaxpot.structures.stress_check import check_stress

# What the quick model must reach before it may speak (measured on 34 healthy files: benchmarks/README.md).
_EXPLAINED = 0.8
_CORRELATION = 0.8
_SURE = 8.0
# Ratios of energies to what forces tell were 0.95 to 1.32 in healthy data; a poor model makes them large.
_LOW, _HIGH = 0.77, 1.43
# A sign needs less of the model than a factor.
_SIGN_CORRELATION = 0.6
_SIGN_SURE = 5.0

_HARTREE_PER_BOHR = 1.0 / units.EV_PER_A_TO_HARTREE_PER_BOHR
_ENERGIES_OVER_FORCES = (
    (units.EV_TO_KCAL_PER_MOL, "energies in kcal/mol beside forces in eV/Å", "divide the energies by 23.06"),
    (1 / units.EV_TO_KCAL_PER_MOL, "forces in kcal/mol/Å beside energies in eV", "divide the forces by 23.06"),
    (units.EV_TO_KJ_PER_MOL, "energies in kJ/mol beside forces in eV/Å", "divide the energies by 96.49"),
    (1 / units.EV_TO_KJ_PER_MOL, "forces in kJ/mol/Å beside energies in eV", "divide the forces by 96.49"),
    (units.HARTREE_TO_EV, "forces in hartree/Å beside energies in eV", "multiply the forces by 27.21"),
    (1 / units.HARTREE_TO_EV, "energies in hartree beside forces in eV/Å", "multiply the energies by 27.21"),
    (units.HARTREE_TO_EV / 2, "forces in Ry/Å beside energies in eV", "multiply the forces by 13.61"),
    (2 / units.HARTREE_TO_EV, "energies in Ry beside forces in eV/Å", "multiply the energies by 13.61"),
    (_HARTREE_PER_BOHR, "forces in hartree/bohr beside energies in eV", "multiply the forces by 51.42"),
    (_HARTREE_PER_BOHR / 2, "forces in Ry/bohr beside energies in eV", "multiply the forces by 25.71"),
    (
        units.A_TO_BOHR,
        "forces per bohr instead of per Å (eV/bohr, or hartree/bohr beside energies in hartree)",
        "divide the forces by 0.5292; where all is in hartree, multiply energies and forces by 27.21 too",
    ),
    (units.EV_TO_MEV, "energies in meV beside forces in eV/Å", "divide the energies by 1000"),
    (1 / units.EV_TO_MEV, "forces in meV/Å beside energies in eV", "divide the forces by 1000"),
)
"""Energy differences over those that the forces tell, what makes such a ratio, and what to do."""


def check_units(frames: Sequence[Frame], fit: ForceFit, works: Sequence[Works] = ()) -> Iterator[Finding]:
    """Yield an error where energies contradict forces by a sign or a unit, or stresses do.

    A model of the forces alone predicts energy differences; their slope against the energies is
    1 in healthy data. Where the model explains too little to be sure, the work of the forces between neighbouring
    structures may tell the same; where that tells nothing either, nothing is said. Where energies do not follow that
    work at any slope, no sign or unit is at fault (`residual_check.py` has a word for it).

    Args:
        frames: all structures.
        fit: of `frames`, by `fit_forces`.
        works: between neighbours among `frames`, by `neighbouring_works`.
    """
    used = [frames[i] for i in fit.frames]
    total = energies_of_fit(frames, fit)
    findings = [] if total is None else list(_check_energies(used, fit, total))
    if unrelated(works):
        findings = []
    elif not findings and not (total is not None and _healthy(total) and _sure(total)):
        findings = list(_check_works(works))
    # Stresses are compared with the forces, which are not to be trusted then.
    yield from findings or check_stress(used, fit, total is not None and _healthy(total) and _sure(total))


def energies_of_fit(frames: Sequence[Frame], fit: ForceFit) -> Slope | None:
    """Return the slope of the energies that the forces tell against the labels; None of too few differences."""
    return _slope([frames[i] for i in fit.frames], fit)


def _slope(used: Sequence[Frame], fit: ForceFit, per_atom: bool = False) -> Slope | None:
    """Return the slope of the forces' energies against the labels, or against labels times atoms."""
    rows = _labelled(used)
    sizes = [len(used[k].structure) for k in rows]
    energies = np.array([used[k].labels.energy for k in rows], dtype=float)
    groups = [(composition(used[k]), used[k].group) for k in rows]
    energies = energies * sizes if per_atom else energies
    return energy_slope(energies, fit.energies[rows], fit.spread[rows], sizes, groups) if rows else None


def _labelled(used: Sequence[Frame]) -> list[int]:
    return [k for k, frame in enumerate(used) if frame.labels.energy is not None]


def _check_energies(used: Sequence[Frame], fit: ForceFit, total: Slope) -> Iterator[Finding]:
    if _healthy(total):
        return
    places = tuple(int(fit.frames[k]) for k in _labelled(used))
    if _sure_of_sign(total) and total.value < 0:
        yield Finding(
            "error",
            "force-sign",
            "the forces have the sign of gradients: energy differences that a model of the forces predicts run "
            f"against the energies ({_numbers(total)})",
            places,
            "multiply the forces by -1 (or the energies, if theirs is the wrong sign)",
        )
    if fit.share < _EXPLAINED:
        return
    alike = list(_ENERGIES_OVER_FORCES)
    sizes = [len(used[k].structure) for k in _labelled(used)]
    if max(sizes) == min(sizes):
        alike.append((1 / sizes[0], f"energies per atom, of {sizes[0]} atoms each", "give total energies"))
    else:
        per_atom = _slope(used, fit, per_atom=True)
        if per_atom is not None and _sure(per_atom) and _healthy(per_atom) and not _better(total, per_atom):
            yield Finding(
                "error",
                "energy-per-atom",
                "the energies seem to be per atom, not of the whole structure: multiplied by the number of atoms they "
                f"agree with the forces ({_numbers(per_atom)})",
                places,
                "give total energies",
            )
            return
    if _sure(total):
        yield from _of_units(total, alike, places)


def _check_works(works: Sequence[Works]) -> Iterator[Finding]:
    for part in works:
        slope = trusted_slope(part)
        if slope is None or _healthy(slope):
            continue
        places = tuple(sorted({int(i) for i in (*part.first, *part.second)}))
        if slope.value < 0:
            yield Finding(
                "error",
                "force-sign",
                "the forces have the sign of gradients: the work that they do from one structure to one near it runs "
                f"against the change of the energies ({_numbers(slope)})",
                places,
                "multiply the forces by -1 (or the energies, if theirs is the wrong sign)",
            )
        per_atom = (1 / part.n_atoms, f"energies per atom, of {part.n_atoms} atoms each", "give total energies")
        yield from _of_units(slope, [*_ENERGIES_OVER_FORCES, per_atom], places)
        return


def _of_units(slope: Slope, kinds: Sequence[tuple[float, str, str]], places: tuple[int, ...]) -> Iterator[Finding]:
    ratio = 1.0 / abs(slope.value)
    if _near(1.0, ratio):
        return
    text = f"energy differences are {ratio:.3g} times those that the forces tell ({_numbers(slope)})"
    alike = sorted((abs(np.log(kind[0] / ratio)), *kind[1:]) for kind in kinds if _near(kind[0], ratio))
    if alike:
        yield Finding(
            "error",
            "force-energy-units",
            f"{text}: {'; or '.join(what for _, what, _ in alike)}",
            places,
            "; or ".join(todo for _, _, todo in alike),
        )
    elif not 0.5 < ratio < 2.0:
        yield Finding(
            "warning",
            "force-energy-slope",
            f"{text}: they do not belong together",
            places,
            "check units, and that forces and energies come from the same calculation",
        )


def _better(one: Slope, other: Slope) -> bool:
    return abs(one.correlation) > abs(other.correlation)


def _near(factor: float, ratio: float) -> bool:
    return bool(_LOW < ratio / factor < _HIGH)


def _healthy(slope: Slope) -> bool:
    return _near(1.0, 1.0 / slope.value) if slope.value > 0 else False


def _sure(slope: Slope) -> bool:
    return abs(slope.correlation) > _CORRELATION and abs(slope.value) > _SURE * slope.std and slope.n >= 6


def _sure_of_sign(slope: Slope) -> bool:
    return abs(slope.correlation) > _SIGN_CORRELATION and abs(slope.value) > _SIGN_SURE * slope.std and slope.n >= 4


def _numbers(slope: Slope) -> str:
    return (
        f"slope {slope.value:.3g} ± {slope.std:.1g} instead of 1, correlation {slope.correlation:.2f}, "
        f"{slope.n} differences"
    )
