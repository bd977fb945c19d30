"""Energies that are no integral of the forces: another energy than theirs, or of other structures."""

from collections.abc import Iterator, Sequence

import numpy as np

from gpjaxpot.structures.finding import Finding, listed
from gpjaxpot.structures.force_fit import ForceFit
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.neighbouring_work import Works
from gpjaxpot.structures.slope import Slope
from gpjaxpot.units import EV_TO_MEV

# Typical differences were 0.1 to 1.4 times the typical gaps in healthy data, of 20 to 100 pairs.
_GAPS = 3.0
# Less is left by a calculation that was converged loosely: share of the works, and eV/atom.
_SHARE = 0.03
_PER_ATOM = 5e-5
# Where a model explains as much of the forces, healthy energies correlated by 0.85 or more with what it predicts.
_EXPLAINED = 0.9
_UNRELATED = 0.5
_OPEN = 0.5
_FEWEST = 20


def check_residuals(frames: Sequence[Frame], works: Sequence[Works]) -> Iterator[Finding]:
    """Yield a warning where energies of neighbouring structures differ by other amounts than the forces' work.

    Those of a smeared calculation do, if they are not its free energy.

    Args:
        frames: all structures.
        works: between neighbours among them, by `neighbouring_works`.
    """
    against = [part for part in works if _contradicts(part)]
    if not against:
        return
    worst = max(against, key=lambda part: _typical(part.changes - part.works) / max(_typical(part.gaps), 1e-12))
    rest, gap, work = (_typical(values) for values in (worst.changes - worst.works, worst.gaps, worst.works))
    places = sorted({int(i) for part in against for i in (*part.first, *part.second)})
    yield Finding(
        "warning",
        "energy-residual",
        f"the forces are not the derivatives of these energies: between structures near each other energies change by "
        f"{EV_TO_MEV * rest / worst.n_atoms:.2g} meV/atom more or less than the work of the forces tells, "
        f"{100 * rest / work:.0f} % of it, though these works agree among themselves to "
        f"{EV_TO_MEV * gap / worst.n_atoms:.1g} meV/atom; {len(places)} structures "
        f"({listed([frames[i].source or f'structure {i}' for i in places])})",
        tuple(places),
        "with smearing name the key of the free energy (VASP's 'free energy TOTEN', not 'energy without entropy' or "
        "'energy(sigma->0)'); else look for what only one of the two has (dispersion, a bias, kinetic energy), for "
        "loose convergence and too few digits",
    )


def check_related(frames: Sequence[Frame], fit: ForceFit, slope: Slope | None) -> Iterator[Finding]:
    """Yield a warning where energies have next to nothing to do with what a good model of the forces predicts.

    Args:
        frames: all structures.
        fit: of their forces.
        slope: of the energies that it predicts against the labels.
    """
    if slope is None or fit.share < _EXPLAINED or slope.n < _FEWEST:
        return
    # Where forces leave energies open, as between structures that are all relaxed, the two need not agree.
    if abs(slope.correlation) > _UNRELATED or slope.open > _OPEN:
        return
    yield Finding(
        "warning",
        "energy-unrelated",
        f"the energies have nothing to do with the forces: a model that explains {100 * fit.share:.0f} % of the forces "
        f"predicts energy differences whose correlation with the labels is {slope.correlation:.2f} "
        f"({slope.n} differences)",
        tuple(int(i) for i in fit.frames if frames[i].labels.energy is not None),
        "look whether energies and forces belong to the same structures, in the same order, and whether the key holds "
        "the potential energy",
    )


def _contradicts(works: Works) -> bool:
    rest = _typical(works.changes - works.works)
    floor = max(_SHARE * _typical(works.works), _PER_ATOM * works.n_atoms)
    return rest > max(floor, _GAPS * _typical(works.gaps))


def _typical(values: np.ndarray) -> float:
    """Return the median size, which a few jumps between other states do not change."""
    return float(np.median(np.abs(values)))

