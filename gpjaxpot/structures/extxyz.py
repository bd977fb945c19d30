"""Frames of an extended XYZ file, each with the number of its first line."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpjaxpot.errors import InputError
from gpjaxpot.structures.elements import atomic_number
from gpjaxpot.structures.raw import RawFrame
from gpjaxpot.structures.structure import Structure

PLAIN_COLUMNS = "species:S:1:pos:R:3"
_TRUTH = {"T": True, "TRUE": True, "F": False, "FALSE": False}
_FORTRAN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[dD][+-]?\d+")
# Keys that ASE reads as 3x3 only; with six numbers it stops, so it sees them by other names.
_TENSORS = re.compile(r"(?:(?<=\s)|^)(stress|virial)(?=\s*=)")
_HIDDEN = "six_or_nine_"
FORTRAN_NOTE = "numbers with Fortran exponents (1.0d0) were read as 1.0e0"


@dataclass(frozen=True)
class TextFrame:
    """The lines of one frame; `line` is the 1-based number of the line with the atom count."""

    line: int
    comment: str
    rows: tuple[str, ...]

    def __str__(self) -> str:
        """Return the lines as they stood."""
        return "\n".join([str(len(self.rows)), self.comment, *self.rows]) + "\n"


def split_frames(lines: Iterable[str], name: str) -> Iterator[TextFrame]:
    """Yield the frames of a file one by one; `name` stands in the messages.

    Raises:
        InputError: with frame and line number, where a frame does not begin with its number
            of atoms or the file ends within a frame.
    """
    numbered = enumerate(lines, start=1)
    frame = 0
    for line, text in numbered:
        if not text.strip():
            continue
        where = f"{name}, frame {frame} (line {line})"
        count = _atom_count(text, where)
        body = [row.rstrip("\r\n") for _, row in itertools.islice(numbered, count + 1)]
        if len(body) < count + 1:
            raise InputError(
                f"{where}: the file ends after {max(len(body) - 1, 0)} of {count} atoms: "
                "it is truncated; copy it again or remove its last frame"
            )
        yield TextFrame(line, body[0], tuple(body[1:]))
        frame += 1


def parse_frame(text: TextFrame, name: str, frame: int) -> RawFrame:
    """Understand one frame.

    Raises:
        InputError: with frame and line number, for anything that cannot be understood.
    """
    where = f"{name}, frame {frame} (line {text.line})"
    try:
        values = _comment(text.comment)
        plain = "Properties" not in values
        columns = _column_layout(str(values.pop("Properties", PLAIN_COLUMNS)))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    table, lenient = _table(text, columns, f"{name}, frame {frame}", plain)
    cell = values.pop("Lattice", None)
    pbc = values.pop("pbc", cell is not None)
    try:
        structure = Structure(
            table.pop("pos"), table.pop("species"), _lattice(cell), _directions(pbc)
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    notes = (FORTRAN_NOTE,) if lenient else ()
    return RawFrame(structure, {**values, **table}, f"{where}", notes, text.__str__)


def number_like(value: Any) -> Any:
    """Return `value` with Fortran's exponents understood if it is text, else unchanged."""
    if not isinstance(value, str):
        return value
    words = re.split(r"[\s,]+", value.strip())
    if not any(_FORTRAN.fullmatch(word) for word in words):
        return value
    try:
        numbers = np.array([_real(word) for word in words])
    except ValueError:
        return value
    return numbers[0] if numbers.size == 1 else numbers


def _atom_count(text: str, where: str) -> int:
    try:
        count = int(text)
    except ValueError as error:
        shown = text.strip()[:40]
        raise InputError(
            f"{where}: expected a number of atoms, got '{shown}': the frame before has more or "
            "fewer lines than it says, or this is no extended XYZ; correct or remove that frame"
        ) from error
    if count < 1:
        raise InputError(f"{where}: the frame has {count} atoms: remove it")
    return count


def _comment(comment: str) -> dict[str, Any]:
    from ase.io.extxyz import key_val_str_to_dict

    try:
        found = key_val_str_to_dict(_TENSORS.sub(rf"{_HIDDEN}\1", comment))
    except Exception as error:  # ASE's parser raises whatever the text led it into
        raise InputError(
            f"cannot understand the comment line ({error}): it must be key=value pairs, "
            "with quotes around values that contain spaces"
        ) from error
    return {key.removeprefix(_HIDDEN): value for key, value in found.items()}


def _column_layout(properties: str) -> list[tuple[str, str, int]]:
    words = properties.split(":")
    if len(words) % 3 or not all(count.isdecimal() for count in words[2::3]):
        raise InputError(
            f"Properties={properties} must be triplets name:type:columns, "
            f"for example {PLAIN_COLUMNS}:forces:R:3"
        )
    layout = [
        (name, kind.upper(), int(count))
        for name, kind, count in zip(words[::3], words[1::3], words[2::3], strict=True)
    ]
    sizes = {name: count for name, _, count in layout}
    if sizes.get("pos") != 3 or 1 not in {sizes.get("species"), sizes.get("Z")}:
        raise InputError(f"Properties={properties} must have species:S:1 (or Z:I:1) and pos:R:3")
    return layout


def _table(
    text: TextFrame, layout: Sequence[tuple[str, str, int]], where: str, plain: bool
) -> tuple[dict[str, np.ndarray], bool]:
    """Return the columns by name, species as atomic numbers, and whether any was Fortran's."""
    width = sum(count for _, _, count in layout)
    rows = [row.split() for row in text.rows]
    for offset, row in enumerate(rows):
        # A plain XYZ says nothing of its columns: what follows the positions is not ours.
        if len(row) < width or (len(row) > width and not plain):
            raise InputError(
                f"{where} (line {text.line + 2 + offset}): expected {width} columns, got "
                f"{len(row)} in '{text.rows[offset].strip()[:60]}': the atom count, the "
                "Properties or this line is wrong; correct or remove the frame"
            )
    table: dict[str, np.ndarray] = {}
    start, lenient = 0, False
    for name, kind, count in layout:
        words = [row[start : start + count] for row in rows]
        try:
            values, was_lenient = _column(name, kind, words)
        except _BadWord as bad:
            raise InputError(
                f"{where} (line {text.line + 2 + bad.row}): {bad}; correct or remove the frame"
            ) from bad
        key = "species" if name == "Z" else name
        table[key] = values if count > 1 else values[:, 0]
        start, lenient = start + count, lenient or was_lenient
    return table, lenient


class _BadWord(ValueError):
    """A word of the table that is no value, with the row it stands in."""

    def __init__(self, row: int, message: str):
        super().__init__(message)
        self.row = row


def _column(name: str, kind: str, words: list[list[str]]) -> tuple[np.ndarray, bool]:
    if name in {"species", "Z"}:
        return _converted(words, name, atomic_number), False
    if kind == "S":
        return np.array(words), False
    if kind == "L":
        return _converted(words, name, lambda word: _TRUTH[word.upper()]), False
    if kind == "I":
        return _converted(words, name, int), False
    try:
        return np.array(words, dtype=np.float64), False
    except ValueError:
        return _converted(words, name, _real), True


def _converted(words: list[list[str]], name: str, convert: Callable[[str], Any]) -> np.ndarray:
    result = []
    for row, entries in enumerate(words):
        try:
            result.append([convert(word) for word in entries])
        except InputError as error:
            raise _BadWord(row, str(error)) from error
        except (ValueError, KeyError) as error:
            shown = " ".join(entries)
            raise _BadWord(row, f"column {name} has '{shown}', which is no value") from error
    return np.array(result)


def _real(word: str) -> float:
    return float(re.sub("[dD]", "e", word) if _FORTRAN.fullmatch(word) else word)


def _lattice(cell: Any) -> Any:
    # The nine numbers are the three vectors one after the other; ASE hands their transpose.
    return cell.T if isinstance(cell, np.ndarray) and cell.shape == (3, 3) else cell


def _directions(pbc: Any) -> Any:
    if isinstance(pbc, str):
        raise InputError(f"pbc must be three of T and F, got '{pbc}'")
    return pbc
