"""What was found in the files that were read."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.keys import FoundLabels
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.raw import RawFrame
from gpjaxpot.units import EV_TO_MEV

# eV/atom; less is of no consequence.
_SMEARING = 1e-5
_UNITS = {"energy": "eV", "forces": "eV/Å", "stress": "eV/Å³, tension positive"}
_LABEL_LIKE = re.compile(r"energ|forc|stress|virial", re.IGNORECASE)
# Written by calculators or by ourselves, and never taken for a label.
_NOT_LABELS = re.compile(r"^GPJ_|_sigma$|_mask$|uncertainty|^energies$|^stresses$", re.IGNORECASE)


@dataclass(frozen=True)
class ReadSummary:
    """Counts, keys, groups, species and notes of one reading.

    `counts` says how many structures have each label; `keys` from which key it came, how
    often; `unused` lists keys that look like labels but were not used.
    """

    files: tuple[str, ...]
    n_structures: int
    n_atoms: int
    n_isolated: int
    counts: Mapping[str, int]
    keys: Mapping[str, Mapping[str, int]]
    groups: Mapping[str, int]
    species: Mapping[str, int]
    periodic: Mapping[int, int]
    unused: Mapping[str, int]
    notes: tuple[str, ...]

    def table(self) -> list[str]:
        """Return the summary as lines of text for people."""
        lines = [
            f"read   {_structures(self.n_structures)}, {self.n_atoms} atoms "
            f"from {', '.join(self.files)}",
            f"atoms  {_listed(self.species)}",
            f"cells  {_listed({_directions(n): count for n, count in self.periodic.items()})}",
        ]
        for label, unit in _UNITS.items():
            keys = ", ".join(self.keys.get(label, {}))
            origin = f"(key {keys}; {unit})" if keys else ""
            lines.append(f"{label:6} {_structures(self.counts[label])} {origin}".rstrip())
        if self.n_isolated:
            lines.append(f"alone  {self.n_isolated} isolated atoms")
        if self.groups:
            lines.append(f"groups {_listed(self.groups)}")
        return lines + [f"note   {note}" for note in self.notes]


class Tally:
    """Counts kept while frames are read one by one; `summary` makes the record of them."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self.seen: Counter[str] = Counter()
        self.used: dict[str, Counter[str]] = {}
        self.considered: set[str] = set()
        self.notes: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self.smearing = 0.0

    def add(self, raw: RawFrame, found: FoundLabels) -> None:
        """Count one frame."""
        self.seen.update(raw.values.keys())
        self.considered.update(found.considered)
        for label, key in found.keys.items():
            self.used.setdefault(label, Counter())[key] += 1
        self.smearing = max(self.smearing, found.smearing)
        for note in found.notes:
            self.notes[note] += 1
            self.first.setdefault(note, raw.source)

    def label_like(self) -> dict[str, int]:
        """Return the keys that look like labels and were not used, with their counts."""
        return {
            key: count
            for key, count in self.seen.items()
            if _LABEL_LIKE.search(key)
            and not _NOT_LABELS.search(key)
            and key not in self.considered
        }

    def summary(self, files: Iterable[str], frames: Sequence[Frame]) -> ReadSummary:
        """Return the record of everything counted."""
        labels = [frame.labels for frame in frames]
        species: Counter[int] = Counter()
        for frame in frames:
            species.update(frame.structure.numbers.tolist())
        groups = Counter(frame.group for frame in frames if frame.group is not None)
        unused = self.label_like()
        return ReadSummary(
            files=tuple(files),
            n_structures=len(frames),
            n_atoms=species.total(),
            n_isolated=sum(frame.isolated for frame in frames),
            counts={
                name: sum(getattr(label, name) is not None for label in labels) for name in _UNITS
            },
            keys={label: dict(counter) for label, counter in self.used.items()},
            groups=dict(groups.most_common()),
            species={symbol(number): species[number] for number in sorted(species)},
            periodic=dict(sorted(Counter(sum(f.structure.pbc) for f in frames).items())),
            unused=unused,
            notes=self._texts(unused, sum(label.empty for label in labels)),
        )

    def _texts(self, unused: Mapping[str, int], n_empty: int) -> tuple[str, ...]:
        texts = [
            f"{note} ({_structures(count)}, first {self.first[note]})"
            for note, count in self.notes.items()
        ]
        texts += [
            f"{key} ({_structures(count)}) looks like a label and is not used: "
            "to use it, name it with keys"
            for key, count in unused.items()
        ]
        if self.smearing > _SMEARING:
            gap = f"{EV_TO_MEV * self.smearing:.3g} meV/atom"
            texts.append(f"energy and free_energy differ by up to {gap}, the share of smearing")
        if n_empty:
            texts.append(f"{_structures(n_empty)} without any label")
        return tuple(texts)


def _structures(count: int) -> str:
    return f"{count} structure{'' if count == 1 else 's'}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _directions(n: int) -> str:
    return ("not periodic", "periodic in 1 direction", "periodic in 2 directions", "periodic")[n]
