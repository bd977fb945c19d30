"""The text of one frame in extended XYZ, each number with all the digits it needs."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpjaxpot.structures.elements import SYMBOLS
from gpjaxpot.structures.extxyz import PLAIN_COLUMNS
from gpjaxpot.structures.structure import Structure


def format_frame(
    structure: Structure, info: Mapping[str, Any], columns: Mapping[str, np.ndarray]
) -> str:
    """Return the text of one frame, such that reading it gives the same numbers.

    Args:
        structure: written as lattice, pbc, species and positions.
        info: key to number, text, truth value or flat array, for the comment line.
        columns: key to (atoms,) or (atoms, n) array of numbers.
    """
    parts = []
    if structure.cell.any():
        parts.append(f'Lattice="{_value(structure.cell.reshape(-1))}"')
    layout = PLAIN_COLUMNS
    blocks = [structure.positions]
    for key, array in columns.items():
        block = np.asarray(array, dtype=np.float64).reshape(len(structure), -1)
        layout += f":{key}:R:{block.shape[1]}"
        blocks.append(block)
    parts.append(f"Properties={layout}")
    parts += [f"{key}={_quoted(_value(value))}" for key, value in info.items()]
    parts.append(f'pbc="{" ".join("FT"[flag] for flag in structure.pbc)}"')
    rows = np.concatenate(blocks, axis=1).tolist()
    lines = [str(len(structure)), " ".join(parts)]
    lines += [
        f"{SYMBOLS[number]} {' '.join(map(repr, row))}"
        for number, row in zip(structure.numbers.tolist(), rows, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "FT"[bool(value)]
    if isinstance(value, str):
        return value
    return " ".join(map(repr, np.asarray(value, dtype=np.float64).reshape(-1).tolist()))


def _quoted(text: str) -> str:
    if re.fullmatch(r"[^\s\"'{}\[\]=\\,]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
