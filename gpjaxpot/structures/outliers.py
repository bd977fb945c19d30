"""Energies and forces far from those of all other structures."""

from collections.abc import Iterator, Sequence

import numpy as np

from gpjaxpot.structures.finding import Finding
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.reference import fit_reference

# A force is worth a word only above this (eV/Å), however quiet the other structures are.
_LARGE_FORCE = 15.0
# What is usual for the noise of strong forces: a share of them.
_SIGMA = 0.1
_LARGE_ENERGY = 2.0  # eV/atom
_ROBUST_WIDTHS = 10.0
# Enough beside twenty times the median; hot cells among small strained ones reach 5 (TiAl at 5000 K).
_FEWER_WIDTHS = 6.0
_MAD_TO_STD = 1.4826


def robust_score(values: np.ndarray) -> np.ndarray:
    """Return distances from the median in standard deviations estimated from the MAD.

    Source: Huber, *Robust Statistics* (1981), §5.1; a few outliers do not change the scale.
    """
    middle = np.median(values)
    width = _MAD_TO_STD * np.median(np.abs(values - middle))
    return np.abs(values - middle) / max(float(width), 1e-12)


def check_forces(frames: Sequence[Frame]) -> Iterator[Finding]:
    """Yield a warning where a structure's largest force stands out, on a logarithmic scale."""
    sizes = {
        i: float(np.linalg.norm(frame.labels.forces, axis=1).max())
        for i, frame in enumerate(frames)
        if frame.labels.forces is not None and not frame.isolated
    }
    if not sizes:
        return
    where, largest = list(sizes), np.array(list(sizes.values()))
    # The logarithm compares hot with relaxed structures; 0.1 eV/Å ends the scale below.
    score = robust_score(np.log(largest + 0.1))
    out = (largest > _LARGE_FORCE) & (
        (score > _ROBUST_WIDTHS) | ((score > _FEWER_WIDTHS) & (largest > 20 * np.median(largest)))
    )
    if out.any():
        indices = [where[k] for k in np.flatnonzero(out)]
        worst = where[int(np.argmax(largest))]
        yield Finding(
            "warning",
            "force-outlier",
            f"{len(indices)} structures have forces far above the others' (largest "
            f"{largest.max():.1f}, median of the largest {np.median(largest):.2f} eV/Å), worst "
            f"{frames[worst].source or worst}",
            tuple(indices),
            "check their convergence; if they are meant, give them a force_sigma of a tenth of their largest force "
            f"({_SIGMA * largest.max():.2g} eV/Å for the worst), so that they do not rule the fit",
        )


def check_energies(frames: Sequence[Frame]) -> Iterator[Finding]:
    """Yield a warning where an energy per atom stands out after its composition's share."""
    where = [i for i, f in enumerate(frames) if f.labels.energy is not None and not f.isolated]
    # Of fewer, none can be told to stand out.
    if len(where) < 5:
        return
    chosen = [frames[i] for i in where]
    reference = fit_reference(chosen)
    rest = np.array(
        [
            ((f.labels.energy or 0.0) - reference.total(f.structure)) / len(f.structure)
            for f in chosen
        ]
    )
    out = (robust_score(rest) > _ROBUST_WIDTHS) & (np.abs(rest - np.median(rest)) > _LARGE_ENERGY)
    if out.any():
        indices = [where[k] for k in np.flatnonzero(out)]
        worst = where[int(np.argmax(np.abs(rest - np.median(rest))))]
        yield Finding(
            "warning",
            "energy-outlier",
            f"{len(indices)} energies are far from the others of like composition, by up to "
            f"{np.abs(rest - np.median(rest)).max():.2f} eV/atom, worst "
            f"{frames[worst].source or worst}",
            tuple(indices),
            "check units, convergence and whether the calculations belong together",
        )
