"""Species of structures set against those that a potential knows."""

from collections.abc import Sequence

import numpy as np

from gpjaxpot.errors import InputError
from gpjaxpot.structures.elements import symbols
from gpjaxpot.structures.labels import Frame


def check_species(frames: Sequence[Frame], known: Sequence[int]) -> None:
    """Refuse frames with species that a potential does not know, all of them at once.

    Raises:
        InputError: naming the first such frame and how many there are.
    """
    strange = [set(frame.structure.numbers.tolist()) - set(known) for frame in frames]
    places = [place for place, numbers in enumerate(strange) if numbers]
    if not places:
        return
    first = frames[places[0]]
    atom = int(np.flatnonzero(~np.isin(first.structure.numbers, list(known)))[0])
    others = f" (and {len(places) - 1} more structures)" if len(places) > 1 else ""
    unknown = symbols(sorted(set().union(*strange)))
    raise InputError(
        f"{first.source or f'structure {places[0]}'}{others}: atom {atom} is "
        f"{symbols([int(first.structure.numbers[atom])])}, the potential knows "
        f"{symbols(sorted(known))}: fit it with data of {unknown}, or leave these structures out"
    )
