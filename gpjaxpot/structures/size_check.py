"""Forces and stresses of a size that points to another unit, where nothing better can be said."""

from collections.abc import Iterator, Sequence

import numpy as np

from gpjaxpot.structures.finding import Finding
from gpjaxpot.structures.labels import Frame

LARGE_FORCE = 12.0
"""eV/Å; in half of all structures a root mean square above it belongs to plasma, or to kcal/mol/Å."""
LARGE_STRESS = 2.0
"""eV/Å³ (320 GPa), the pressure in the earth's core."""
_FEWEST = 3


def check_sizes(frames: Sequence[Frame]) -> Iterator[Finding]:
    """Yield a warning where most forces or stresses are far larger than in matter that one computes."""
    kinds = (
        ("forces", "force-size", LARGE_FORCE, "eV/Å", "if they are in kcal/mol/Å, divide by 23.06, energies too"),
        ("stress", "stress-size", LARGE_STRESS, "eV/Å³", "divide by 160.2 if it is in GPa, by 1602 if in kbar"),
    )
    for label, code, limit, unit, remedy in kinds:
        places = [
            i
            for i, frame in enumerate(frames)
            if getattr(frame.labels, label) is not None and len(frame.structure) > 1
        ]
        if len(places) < _FEWEST:
            continue
        middle = float(np.median([np.sqrt(np.mean(np.square(getattr(frames[i].labels, label)))) for i in places]))
        if middle > limit:
            yield Finding(
                "warning",
                code,
                f"{label} of {len(places)} structures have a typical size of {middle:.3g} {unit}: most likely they "
                "are in another unit",
                tuple(places),
                f"check the unit: {remedy}",
            )
