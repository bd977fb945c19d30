"""Which keys of a file hold the energy, the forces and the stress of a frame."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpjaxpot.errors import InputError, did_you_mean
from gpjaxpot.structures.extxyz import FORTRAN_NOTE, number_like
from gpjaxpot.structures.labels import Labels, scalar, voigt
from gpjaxpot.structures.raw import RawFrame

NAMEABLE = ("energy", "forces", "stress", "virial", "group")
"""What a user can name a key for."""

_CANDIDATES = {
    "energy": ("REF_energy", "free_energy", "energy"),
    "forces": ("REF_forces", "REF_force", "forces", "force"),
    "stress": ("REF_stress", "stress"),
    "virial": ("REF_virial", "REF_virials", "virial", "virials"),
}
# Two sources of one label may differ by what printing with few digits makes of it.
_TOLERANCE = {"energy": 1e-4, "forces": 1e-4, "stress": 1e-5}
_SIGMAS = {
    "energy": ("energy_sigma",),
    "forces": ("force_sigma", "forces_sigma"),
    "stress": ("stress_sigma", "virial_sigma"),
}
_UNUSED_BY_US = ("force_mask", "force_atom_sigma", "force_component_sigma")


@dataclass(frozen=True)
class FoundLabels:
    """The labels of a frame, the key each came from, and what should be said about it.

    `considered` are all keys that were looked at, also those that another was preferred to.
    `smearing` is how far `energy` and `free_energy` of one calculation are apart (eV/atom), where
    both are there.
    """

    labels: Labels
    group: str | None
    keys: Mapping[str, str]
    considered: frozenset[str]
    notes: tuple[str, ...]
    smearing: float = 0.0


def check_named(named: Mapping[str, str] | None) -> dict[str, str]:
    """Return the user's key names as a dictionary, having checked what they are for.

    Raises:
        InputError: if one is for something else than energy, forces, stress, virial or group.
    """
    for label in named or {}:
        if label not in NAMEABLE:
            raise InputError(
                f"keys can be named for {', '.join(NAMEABLE)}, not for '{label}'"
                f"{did_you_mean(label, NAMEABLE)}"
            )
    return dict(named or {})


def find_labels(raw: RawFrame, named: Mapping[str, str]) -> FoundLabels:
    """Return the labels of one frame.

    A key the user names wins. Else `REF_energy REF_forces REF_stress REF_virial` and then
    `energy forces stress virial` are looked for, `free_energy` before `energy` since forces
    are its derivative. A virial (eV) becomes the stress -virial/volume. Standard deviations
    are taken from `energy_sigma force_sigma stress_sigma virial_sigma`, each in the unit of
    its label, the virial's divided by the volume.

    Raises:
        InputError: naming the frame, if two sources differ or a value cannot be used.
    """
    try:
        return _find(raw, named)
    except InputError as error:
        raise InputError(f"{raw.source}: {error}") from error


def _find(raw: RawFrame, named: Mapping[str, str]) -> FoundLabels:
    volume = raw.structure.volume
    notes = list(raw.notes)
    found: dict[str, Any] = {}
    keys: dict[str, str] = {}
    considered: set[str] = set()
    for label in ("energy", "forces", "stress"):
        sources = _sources(label, raw.values, named)
        considered.update(sources)
        if label == "stress" and sources and volume is None:
            notes.append("stress left out: it needs three periodic directions")
            continue
        candidates = {
            key: _clean(part, key, raw.values[key], volume) for key, part in sources.items()
        }
        if candidates:
            keys[label] = _agreed(label, candidates)
            found[label] = candidates[keys[label]]
            sigma = _sigma(label, raw.values, volume)
            if sigma is not None:
                keys[f"{label}_sigma"], found[f"{label}_sigma"] = sigma
    notes += _remarks(raw.values, keys)
    group = raw.values.get(named.get("group", "config_type"))
    return FoundLabels(
        Labels(**found),
        None if group is None else str(group),
        keys,
        frozenset(considered),
        tuple(notes),
        _smearing(raw),
    )


def _smearing(raw: RawFrame) -> float:
    values = [number_like(raw.values.get(key)) for key in ("energy", "free_energy")]
    if any(np.asarray(value).dtype.kind not in "fiu" or np.size(value) != 1 for value in values):
        return 0.0
    energy, free = (float(np.asarray(value).reshape(())) for value in values)
    gap = abs(energy - free) / len(raw.structure)
    return gap if np.isfinite(gap) else 0.0


def _sources(label: str, values: Mapping[str, Any], named: Mapping[str, str]) -> dict[str, str]:
    """Return the keys present for a label, best first, each with what it holds."""
    parts = ("stress", "virial") if label == "stress" else (label,)
    wanted = {named[part]: part for part in parts if part in named}
    if not wanted:
        wanted = {key: part for part in parts for key in _CANDIDATES[part]}
    return {key: part for key, part in wanted.items() if values.get(key) is not None}


def _clean(part: str, key: str, value: Any, volume: float | None) -> Any:
    value = number_like(value)
    try:
        if part == "energy":
            return scalar(value, "energy")
        if part == "virial" and volume is not None:
            return voigt(-_numeric(value) / volume)
        return _numeric(value) if part == "forces" else voigt(value)
    except InputError as error:
        raise InputError(f"key {key}: {error}") from error


def _numeric(value: Any) -> np.ndarray:
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.number):
        first = array.reshape(-1)[0] if array.size else value
        raise InputError(f"must hold numbers, got '{first}': correct or remove it")
    return array.astype(np.float64)


def _agreed(label: str, candidates: Mapping[str, Any]) -> str:
    """Return the key to use, the first, having checked that the others say the same."""
    first, *others = candidates
    if label == "energy" and "free_energy" in candidates:
        # energy beside free_energy is the same calculation, extrapolated to no smearing.
        if first == "free_energy" or _same(label, candidates, first, "energy"):
            return first
        others = ["free_energy"]
    for other in others:
        if not _same(label, candidates, first, other):
            raise InputError(
                f"{first} and {other} both give the {label} and differ by "
                f"{_difference(candidates[first], candidates[other]):.4g}: remove one, or name "
                f"the one to use, keys={{'{label}': '{first}'}}"
            )
    return first


def _same(label: str, candidates: Mapping[str, Any], first: str, other: str) -> bool:
    if other not in candidates:
        return False
    return _difference(candidates[first], candidates[other]) <= _TOLERANCE[label]


def _difference(first: Any, other: Any) -> float:
    a, b = np.asarray(first), np.asarray(other)
    return float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")


def _sigma(label: str, values: Mapping[str, Any], volume: float | None) -> tuple[str, float] | None:
    found = {}
    for key in _SIGMAS[label]:
        if values.get(key) is not None:
            value = scalar(number_like(values[key]), key)
            found[key] = value / volume if key == "virial_sigma" and volume else value
    if len(found) == 2 and not np.isclose(*found.values(), rtol=1e-3):
        raise InputError(f"{' and '.join(found)} contradict each other: remove one")
    return next(iter(found.items()), None)


def _remarks(values: Mapping[str, Any], keys: Mapping[str, str]) -> list[str]:
    notes = []
    if keys.get("energy") == "free_energy" and "energy" in values:
        notes.append("free_energy used, not energy: the forces are its derivative")
    elif "energy" in keys and not _equal_numbers(values[keys["energy"]], values.get("free_energy")):
        notes.append(
            f"{keys['energy']} used, not free_energy, whose derivative the forces are: without a reason for it, "
            "name it with keys={'energy': 'free_energy'}"
        )
    if any(isinstance(values[key], str) for key in keys.values() if key != "forces"):
        notes.append(FORTRAN_NOTE)
    for key in _UNUSED_BY_US:
        if key in values:
            notes.append(f"{key} is not used")
    return notes


def _equal_numbers(one: Any, other: Any) -> bool:
    """Whether two energies are the same, or the other is not there."""
    if other is None:
        return True
    a, b = np.asarray(number_like(one)), np.asarray(number_like(other))
    kinds = a.dtype.kind in "fiu" and b.dtype.kind in "fiu" and a.size == b.size
    return bool(kinds and np.allclose(a, b, rtol=0, atol=_TOLERANCE["energy"]))
