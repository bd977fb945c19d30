"""A frame as its file holds it: a structure, and everything else under the file's own keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gpjaxpot.structures.structure import Structure


@dataclass(frozen=True)
class RawFrame:
    """A structure, the other values found with it, and where it stands.

    `values` holds the keys of a comment line, per-atom columns and calculator results
    alike. `notes` says what had to be understood leniently; `text` gives the frame as extended XYZ,
    as it stood if it came from such a file, so that it can be set aside.
    """

    structure: Structure
    values: Mapping[str, Any]
    source: str
    notes: tuple[str, ...] = ()
    text: Callable[[], str] = str
