"""Frames out of files of any format that ASE reads, one at a time, each with its place."""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from gpjaxpot.errors import InputError, did_you_mean
from gpjaxpot.structures.extxyz import parse_frame, split_frames
from gpjaxpot.structures.raw import RawFrame
from gpjaxpot.structures.rejected import Rejected
from gpjaxpot.structures.structure import Structure

Index = int | slice | str
_STANDARD = {"energy", "free_energy", "forces", "stress"}

_OPENERS: dict[str, Callable[..., IO[Any]]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}


def raw_frames(
    path: str | os.PathLike[str], index: Index = ":", rejected: list[Rejected] | None = None
) -> Iterator[RawFrame]:
    """Yield the frames of one file that `index` chooses, in the file's order.

    Frames are counted from 0, as by `ase.io.read`, also in the messages. Where a list `rejected` is given, a frame that
    cannot be understood by itself is put there instead of ending the reading.

    Raises:
        InputError: naming file, frame and, for extended XYZ, line, for a file that is
            missing, empty, of unknown format or cut off, and for a frame that cannot be read.
    """
    file = Path(path)
    _check_there(file)
    chosen = parse_index(index)
    kind = _format(file)
    if kind == "extxyz":
        yield from _extended_xyz(file, chosen, rejected)
        return
    for number, atoms in _choose(_ase_frames(file, kind), chosen, str(file)):
        source = f"{file}, frame {number}"
        try:
            raw = _from_ase(atoms, source)
        except InputError as error:
            if rejected is None:
                raise
            rejected.append(Rejected(source, str(error), _text(atoms)))
        else:
            yield raw


def parse_index(index: Index) -> slice:
    """Return `3`, `"3"`, `":10"`, `"::5"` or a slice as a slice.

    Raises:
        InputError: for anything else.
    """
    if isinstance(index, slice):
        return index
    try:
        if isinstance(index, str) and ":" in index:
            words = index.split(":")
            start, stop, step = ([int(word) if word else None for word in words] + [None])[:3]
            if len(words) > 3 or step == 0:
                raise ValueError
            return slice(start, stop, step)
        number = int(index)
    except ValueError as error:
        raise InputError(
            f"index must be a number or start:stop:step, for example ':100' or '::5', got {index!r}"
        ) from error
    return slice(number, number + 1 or None)


def _check_there(file: Path) -> None:
    if file.is_dir():
        raise InputError(f"{file} is a directory: name the files in it")
    if not file.exists():
        near = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
        raise InputError(f"there is no file {file}{did_you_mean(file.name, near)}")
    if not os.access(file, os.R_OK):
        raise InputError(f"{file} cannot be read: its permissions forbid it")
    if file.is_file() and file.stat().st_size == 0:
        raise InputError(f"{file} is empty: write it again or leave it out")


def _format(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in _OPENERS:
        suffixes.pop()
    if suffixes and suffixes[-1] in {".xyz", ".extxyz"}:
        return "extxyz"
    from ase.io.formats import UnknownFileTypeError, filetype, get_ioformat

    try:
        # ASE takes an unknown suffix for the name of a format; asking for the format finds out.
        kind = filetype(os.fspath(file))
        readable = get_ioformat(kind).can_read
    except (UnknownFileTypeError, OSError, ValueError):
        kind, readable = "", False
    if not readable:
        raise InputError(
            f"the format of {file} is not known: "
            "use extended XYZ (.xyz), .traj, .db or vasprun.xml, named so"
        )
    return "extxyz" if kind in {"extxyz", "xyz"} else kind


def _choose(items: Iterator[Any], chosen: slice, name: str) -> Iterator[tuple[int, Any]]:
    nothing = f"{name} has no frames: write it again or leave it out"
    if chosen == slice(None):
        number = -1
        for number, item in enumerate(items):
            yield number, item
        if number < 0:
            raise InputError(nothing)
        return
    # A slice may go backwards or count from the end: the number of frames comes first.
    every = list(items)
    if not every:
        raise InputError(nothing)
    numbers = range(*chosen.indices(len(every)))
    if not numbers:
        raise InputError(
            f"{name} has {len(every)} frames, of which the index chooses none: choose another"
        )
    for number in numbers:
        yield number, every[number]


def _extended_xyz(file: Path, chosen: slice, rejected: list[Rejected] | None) -> Iterator[RawFrame]:
    opener = _OPENERS.get(file.suffix.lower(), open)
    try:
        with opener(file, "rt", encoding="utf-8-sig") as lines:
            for number, text in _choose(split_frames(lines, str(file)), chosen, str(file)):
                try:
                    raw = parse_frame(text, str(file), number)
                except InputError as error:
                    if rejected is None:
                        raise
                    rejected.append(Rejected(f"{file}, frame {number} (line {text.line})", str(error), str(text)))
                else:
                    yield raw
    except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise InputError(
            f"{file} cannot be read as text ({error}): "
            "it is truncated, damaged or no extended XYZ; copy it again"
        ) from error


def _ase_frames(file: Path, kind: str) -> Iterator[Any]:
    if kind == "vasp-xml":
        _refuse_cut_vasprun(file)
    reader = _database(file) if kind in {"db", "json"} else _images(file, kind)
    number = 0
    while True:
        try:
            atoms = next(reader)
        except StopIteration:
            return
        except Exception as error:  # each of ASE's readers raises what its format led it into
            raise InputError(
                f"{file}, frame {number}: cannot be read as {kind} "
                f"({type(error).__name__}: {error}): the file is truncated, damaged or of "
                "another format; copy it again or remove what follows the frame before"
            ) from error
        yield atoms
        number += 1


def _images(file: Path, kind: str) -> Iterator[Any]:
    from ase.io import iread

    yield from iread(file, index=":", format=kind)


def _database(file: Path) -> Iterator[Any]:
    from ase.db import connect

    for row in connect(file).select():
        atoms = row.toatoms(add_additional_information=True)
        for part in ("key_value_pairs", "data"):
            atoms.info.update(atoms.info.pop(part, {}))
        yield atoms


def _refuse_cut_vasprun(file: Path) -> None:
    if file.suffix.lower() in _OPENERS:
        return
    with open(file, "rb") as content:
        content.seek(max(file.stat().st_size - 512, 0))
        if b"</modeling>" not in content.read():
            raise InputError(
                f"{file} is truncated, the VASP run did not end: its complete steps can be "
                f"had by `ase convert {file} complete.xyz`; check that the last converged"
            )


def _from_ase(atoms: Any, source: str) -> RawFrame:
    try:
        structure = Structure.from_ase(atoms)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    columns = {k: v for k, v in atoms.arrays.items() if k not in {"numbers", "positions"}}
    values = {**atoms.info, **columns}
    # Results are read from the record: `get_forces` would zero those of fixed atoms.
    for key, value in getattr(atoms.calc, "results", {}).items():
        if value is None:
            continue
        if key in _STANDARD and key in values and not _equal(values[key], value):
            raise InputError(
                f"{source}: {key} stands twice, in the calculator's results and in the "
                "structure's info or arrays, and they differ: remove one"
            )
        values[key] = value
    return RawFrame(structure, values, source, text=lambda: _text(atoms))


def _text(atoms: Any) -> str:
    """Return a frame as ASE writes extended XYZ; "" if it cannot."""
    from ase.io import write

    lines = StringIO()
    try:
        write(lines, atoms, format="extxyz")
    except Exception:  # ASE's writer raises whatever the values led it into
        return ""
    return lines.getvalue()


def _equal(one: Any, other: Any) -> bool:
    a, b = np.asarray(one), np.asarray(other)
    return a.size == b.size and np.allclose(a.reshape(-1), b.reshape(-1), atol=1e-5)
