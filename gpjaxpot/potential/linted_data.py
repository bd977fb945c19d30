"""A data set as the linter of settings asks of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pydantic import BaseModel

from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.pairs import find_pairs
from gpjaxpot.structures.reference import fit_reference

_SAMPLED = 40


@dataclass(frozen=True)
class LintedData:
    """The frames, and what the linter asks of them."""

    frames: Sequence[Frame]

    def having(self, label: str) -> list[Frame]:
        """Return the frames with a label, isolated atoms left out."""
        return [f for f in self.frames if getattr(f.labels, label) is not None and not f.isolated]

    @cached_property
    def energies(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies per atom after each composition's share (eV), and numbers of atoms."""
        chosen = self.having("energy")
        reference = fit_reference(chosen) if chosen else None
        sizes = np.array([len(f.structure) for f in chosen])
        rest = [
            ((f.labels.energy or 0.0) - (reference.total(f.structure) if reference else 0.0)) / len(f.structure)
            for f in chosen
        ]
        return np.array(rest), sizes

    @cached_property
    def some(self) -> list[Frame]:
        """Some frames of more than one atom, evenly spaced."""
        several = [f for f in self.frames if len(f.structure) > 1]
        return several[:: max(1, len(several) // _SAMPLED)]

    @cached_property
    def nearest(self) -> float | None:
        """Median distance (Å) of an atom to its nearest, of atoms that have one within 6 Å."""
        found: list[float] = []
        for frame in self.some:
            structure = frame.structure
            pairs = find_pairs(structure, 6.0)
            cell = np.where(np.array(structure.pbc)[:, None], structure.cell, 0.0)
            r = structure.positions
            d = np.linalg.norm(r[pairs.others] + pairs.shifts @ cell - r[pairs.centres], axis=1)
            least = np.full(len(structure), np.inf)
            np.minimum.at(least, pairs.centres, d)
            found += least[np.isfinite(least)].tolist()
        return float(np.median(found)) if found else None

    def neighbours(self, cutoff: float) -> float:
        """Return the mean number of neighbours within `cutoff` (Å)."""
        atoms = sum(len(f.structure) for f in self.some)
        return sum(len(find_pairs(f.structure, cutoff).centres) for f in self.some) / atoms if atoms else 0.0


def given(part: BaseModel, name: str) -> bool:
    """Whether a person set this field to a value: no default, not "auto"."""
    return name in part.model_fields_set and getattr(part, name) not in ("auto", None)
