"""Sign, unit and order of stresses, held against what a model of the forces says."""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from gpjaxpot import units
from gpjaxpot.structures.finding import Finding, Level
from gpjaxpot.structures.force_fit import ForceFit
from gpjaxpot.structures.labels import Frame

_EXPLAINED = 0.5
_CORRELATION = 0.7
_TOLERANCE = 1.35
_FEWEST = 4
# An order of the shears is told only where it fits this much better than the right one.
_RIGHT_ORDER, _WRONG_ORDER = 0.3, 0.8
_EITHER = "; or mend the forces: the energies do not tell which of the two is wrong"
_NAMES = ("yz", "xz", "xy")

_UNITS = (
    (units.EV_PER_A3_TO_GPA, "GPa", "divide by 160.2"),
    (units.EV_PER_A3_TO_KBAR, "kbar", "divide by 1602"),
    (units.EV_PER_A3_TO_GPA * 1e3, "MPa", "divide by 160218"),
    (units.EV_PER_A3_TO_HARTREE_PER_BOHR3, "hartree/bohr³", "multiply by 183.6"),
    (units.EV_PER_A3_TO_HARTREE_PER_BOHR3 * 2, "Ry/bohr³", "multiply by 91.8"),
)


def check_stress(used: Sequence[Frame], fit: ForceFit, confirmed: bool) -> Iterator[Finding]:
    """Yield an error for a wrong sign or unit of the stress, or another order of its numbers.

    Without `confirmed` it is a warning. The mean pressure of all is left out: forces say little about it.

    Args:
        used: the structures of the fit.
        fit: of their forces.
        confirmed: whether energies say that the forces are right; else they may be at fault.
    """
    rows = [k for k, frame in enumerate(used) if frame.labels.stress is not None]
    if len(rows) < _FEWEST or fit.share < _EXPLAINED:
        return
    labels = np.array([used[k].labels.stress for k in rows])
    told = fit.stresses[rows]
    volumes = np.array([used[k].structure.volume for k in rows], dtype=float)
    places = tuple(int(fit.frames[k]) for k in rows)
    yield from _check_factor(labels, told, volumes, places, "" if confirmed else _EITHER)
    yield from _check_order(labels[:, 3:], told[:, 3:], places)


def _check_factor(
    labels: np.ndarray, told: np.ndarray, volumes: np.ndarray, places: tuple[int, ...], either: str
) -> Iterator[Finding]:
    n = len(labels)
    as_stress, slope = _compared(labels, told)
    as_virial, virial_slope = _compared(labels / volumes[:, None], told)
    if max(abs(as_stress), abs(as_virial)) < _CORRELATION:
        return
    sign = -1.0 if slope < 0 else 1.0
    kinds = []
    if abs(as_stress) > _CORRELATION:
        if _near(abs(slope), 1.0):
            kinds.append(("eV/Å³", "", abs(as_stress)))
        kinds += [(name, todo, abs(as_stress)) for factor, name, todo in _UNITS if _near(abs(slope), factor)]
    if abs(as_virial) > _CORRELATION and _near(abs(virial_slope), 1.0) and not _near(abs(slope), 1.0):
        kinds.append(("eV, a stress times the volume", "divide by the volume", abs(as_virial)))
    if not kinds or (kinds[0][0] == "eV/Å³" and sign > 0):
        return
    kinds.sort(key=lambda kind: -kind[2])
    numbers = f"slope {slope:.3g} instead of 1, correlation {as_stress:.2f}, {n} structures"
    level: Level = "warning" if either else "error"
    right = [name for name, todo, _ in kinds if not todo]
    if sign < 0:
        virial = any("volume" in name for name, _, _ in kinds)
        yield Finding(
            level,
            "stress-sign",
            (f"stress and forces contradict each other by a sign ({numbers})" if either else
             "the stress has the wrong sign, that of a pressure or a virial: it runs against the one that the "
             f"forces tell ({numbers})"),
            places,
            "multiply it by -1 (positive is tension)" + (", or name the key as a virial" if virial else "") + either,
        )
    if not right:
        yield Finding(
            level,
            "stress-units",
            ("stress and forces do not belong together; if the forces are right, the stress" if either else
             "the stress is not in eV/Å³ but") + f" seems to be in {' or '.join(k[0] for k in kinds)} ({numbers})",
            places,
            "; or ".join(f"{todo} if it is in {name}" for name, todo, _ in kinds) + either,
        )


def _check_order(labels: np.ndarray, told: np.ndarray, places: tuple[int, ...]) -> Iterator[Finding]:
    size = np.sqrt(np.mean(told**2, axis=0))
    # Crystals strained along one direction at a time leave other orders open.
    if size.min() < 0.2 * size.max() or not labels.any():
        return
    fits = {order: abs(_correlation(labels, told[:, order])) for order in permutations(range(3))}
    best = max(fits, key=fits.__getitem__)
    if best != (0, 1, 2) and fits[best] > _WRONG_ORDER and fits[0, 1, 2] < fits[best] - _RIGHT_ORDER:
        order = " ".join(_NAMES[k] for k in best)
        yield Finding(
            "error",
            "stress-order",
            f"the last three numbers of the stress seem to be in the order {order} instead of yz xz xy "
            f"(correlation with what the forces tell: {fits[best]:.2f}, as they stand {fits[0, 1, 2]:.2f})",
            places,
            "write the stress as 9 numbers, or in the order xx yy zz yz xz xy",
        )


def _compared(labels: np.ndarray, told: np.ndarray) -> tuple[float, float]:
    """Return correlation, and slope of the labels, of what agrees best: all but the mean pressure, or shears."""
    best = (0.0, 0.0)
    for part in (_without_mean_pressure, _without_pressures):
        a, b = part(labels).reshape(-1), part(told).reshape(-1)
        correlation = _correlation(a, b)
        if abs(correlation) > abs(best[0]):
            best = correlation, float(a @ a / (a @ b))
    return best


def _without_mean_pressure(values: np.ndarray) -> np.ndarray:
    return values - np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]) * values[:, :3].mean()


def _without_pressures(values: np.ndarray) -> np.ndarray:
    return values - np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]) * values[:, :3].mean(axis=1, keepdims=True)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    size = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    return float(np.sum(a * b)) / size if size > 0 else 0.0


def _near(ratio: float, factor: float) -> bool:
    return bool(ratio > 0 and abs(np.log(ratio / factor)) < np.log(_TOLERANCE))
