"""Zeros and other constants that stand where a label should."""

from collections.abc import Iterator, Sequence

import numpy as np

from gpjaxpot.structures.finding import Finding, listed
from gpjaxpot.structures.labels import Frame

# Perfect crystals have forces of zero by symmetry, but no set consists of them.
_MOST = 0.5
_FEWEST = 5


def check_placeholders(frames: Sequence[Frame]) -> Iterator[Finding]:
    """Yield a warning where labels are exactly 0, or energies one number: a missing label is no 0."""
    real = [i for i, frame in enumerate(frames) if len(frame.structure) > 1]
    for label in ("energy", "forces", "stress"):
        have = [i for i in real if getattr(frames[i].labels, label) is not None]
        zero = [i for i in have if not np.any(getattr(frames[i].labels, label))]
        if zero and (label == "energy" or (len(have) >= _FEWEST and len(zero) > _MOST * len(have))):
            yield Finding(
                "warning",
                f"zero-{label}",
                f"{label} of {len(zero)} structures {'is' if label != 'forces' else 'are'} exactly 0 "
                f"({listed([frames[i].source or f'structure {i}' for i in zero])})",
                tuple(zero),
                "where it was not computed, remove the label: what is missing is left out of a fit, 0 is learned",
            )
    energies = [i for i in real if frames[i].labels.energy]
    if len(energies) >= _FEWEST and len({frames[i].labels.energy for i in energies}) == 1:
        yield Finding(
            "warning",
            "constant-energy",
            f"all {len(energies)} energies are the same, {frames[energies[0]].labels.energy} eV",
            tuple(energies),
            "look for the key that holds the energy of each structure, and name it",
        )
