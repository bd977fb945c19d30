"""The text of one frame in extended XYZ, each number with all the digits it needs."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpjaxpot.structures.elements import SYMBOLS
from gpjaxpot.structures.extxyz import PLAIN_COLUMNS
from gpjaxpot.structures.labels import Frame
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
    parts += [f"{key}={quoted(_value(value))}" for key, value in info.items()]
    parts.append(f'pbc="{" ".join("FT"[flag] for flag in structure.pbc)}"')
    rows = np.concatenate(blocks, axis=1).tolist()
    lines = [str(len(structure)), " ".join(parts)]
    lines += [
        f"{SYMBOLS[number]} {' '.join(map(repr, row))}"
        for number, row in zip(structure.numbers.tolist(), rows, strict=True)
    ]
    return "\n".join(lines) + "\n"


def label_values(frame: Frame) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what is known of a frame as `format_frame` wants it, under names that are read again."""
    labels = frame.labels
    info = {
        "config_type": frame.group,
        "REF_energy": labels.energy,
        "REF_stress": labels.stress,
        "energy_sigma": labels.energy_sigma,
        "force_sigma": labels.forces_sigma,
        "stress_sigma": labels.stress_sigma,
    }
    columns = {} if labels.forces is None else {"REF_forces": labels.forces}
    return {key: value for key, value in info.items() if value is not None}, columns


def _value(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "FT"[bool(value)]
    if isinstance(value, str):
        return value
    return " ".join(map(repr, np.asarray(value, dtype=np.float64).reshape(-1).tolist()))


def quoted(text: str) -> str:
    """Return text as the value of a key: in quotes where it needs them."""
    if re.fullmatch(r"[^\s\"'{}\[\]=\\,]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
