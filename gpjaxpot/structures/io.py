"""Structures and labels in from files, predictions out to one."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpjaxpot.errors import InputError, did_you_mean
from gpjaxpot.structures.extxyz_text import format_frame, label_values
from gpjaxpot.structures.files import atomic_write
from gpjaxpot.structures.keys import check_named, find_labels
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.rejected import Rejected
from gpjaxpot.structures.sources import Index, raw_frames
from gpjaxpot.structures.structure import Structure
from gpjaxpot.structures.summary import ReadSummary, Tally

_OUTPUTS = ("energy", "forces", "stress", "energies")
_PER_ATOM = {"forces", "energies", "novelty"}
_INTERVALS = {"energy", "forces", "stress"}
_DEVIATIONS = {
    "uncertainty": "uncertainty",
    "uncertainty_raw": "std",
    "uncertainty_epistemic": "epistemic_std",
    "uncertainty_aleatoric": "aleatoric_std",
    "uncertainty_epistemic_within": "epistemic_within_std",
    "uncertainty_epistemic_between": "epistemic_between_std",
}


def read(
    *paths: str | os.PathLike[str],
    index: Index = ":",
    keys: Mapping[str, str] | None = None,
    labels_required: bool = True,
) -> list[Frame]:
    """Read structures with their labels from files of any format that ASE reads.

    Units are eV, eV/Å and eV/Å³ (positive is tension). A missing label is absent, never 0.
    The keys looked for are told at `gpjaxpot.structures.keys.find_labels`; a key `dft_energy`
    is used only when named: ``keys={"energy": "dft_energy"}``. A stress is left out where a
    structure is not periodic in all three directions.

    Args:
        paths: one file or several; their frames are joined in this order.
        index: which frames of each file, as for `ase.io.read`.
        keys: names for energy, forces, stress, virial and group, where they are not standard.
        labels_required: whether files without any label are refused.

    Raises:
        InputError: naming file, frame and remedy, for anything that cannot be read or used.
    """
    return read_with_summary(*paths, index=index, keys=keys, labels_required=labels_required)[0]


def read_with_summary(
    *paths: str | os.PathLike[str],
    index: Index = ":",
    keys: Mapping[str, str] | None = None,
    labels_required: bool = True,
    rejected: list[Rejected] | None = None,
) -> tuple[list[Frame], ReadSummary]:
    """Do what `read` does, and return what was found beside the frames.

    Where a list `rejected` is given, structures that cannot be read or used by themselves are put there, each with the
    reason, instead of ending the reading.
    """
    if not paths:
        raise InputError("no file to read: give at least one path")
    named = check_named(keys)
    tally = Tally()
    frames = []
    for path in paths:
        for raw in raw_frames(path, index, rejected):
            try:
                found = find_labels(raw, named)
                frame = Frame(raw.structure, found.labels, found.group, raw.source)
            except InputError as error:
                if rejected is None:
                    raise
                rejected.append(Rejected(raw.source, str(error), raw.text()))
                continue
            tally.add(raw, found)
            frames.append(frame)
    if rejected and not frames:
        raise InputError(f"not one structure can be used; the first: {rejected[0].reason}")
    names = [os.fspath(path) for path in paths]
    if labels_required:
        _check_named_found(named, tally, names)
        if all(frame.labels.empty for frame in frames):
            raise _no_labels(tally, names, len(frames))
    return frames, tally.summary(names, frames)


def write_predictions(
    path: str | os.PathLike[str],
    structures: Sequence[Any],
    predictions: Sequence[Any],
    prefix: str = "GPJ_",
    *,
    levels: Sequence[float] = (),
    raw: bool = False,
    flags: Mapping[str, Sequence[bool]] | None = None,
) -> None:
    """Write structures with predictions as extended XYZ, with all digits, whole or not at all.

    Keys are `GPJ_energy` (eV), `GPJ_forces` (eV/Å), `GPJ_stress` (eV/Å³, Voigt xx yy zz yz xz
    xy) and `GPJ_energies`, each with `…_uncertainty` (one standard deviation, same unit and
    shape; calibrated for the quantities that `GPJ_calibrated` names) and the raw
    `…_uncertainty_raw`, `…_uncertainty_epistemic` and `…_uncertainty_aleatoric` where the
    prediction has them, and `GPJ_novelty` of each atom where that is known; with a posterior over hyperparameters also
    `…_uncertainty_epistemic_within` and `…_uncertainty_epistemic_between`. Labels the
    structures came with are kept as `REF_energy`, `REF_forces` and `REF_stress`, so that the
    file can be read again.

    Args:
        path: file to write.
        structures: `Frame`, `Structure` or `ase.Atoms`.
        predictions: one for each structure, with the fields of
            `gpjaxpot.potential.Prediction`; what it does not have is left out.
        raw: whether `…_uncertainty` is the raw spread, whatever a calibration says.
        levels: probabilities of intervals whose half-widths are written too, under `…_halfwidth_0.9`
            and so on, where the calibration has enough data for them.
        flags: more to be said of each structure, by names that the prefix is put before.
        prefix: of the keys of predictions; not "REF_".

    Raises:
        InputError: if the numbers differ, a shape is wrong or the file cannot be written.
    """
    if len(structures) != len(predictions):
        raise InputError(f"{len(structures)} structures but {len(predictions)} predictions")
    if prefix in {"", "REF_"}:
        raise InputError(f"prefix '{prefix}' would make predictions look like labels: choose GPJ_")
    with atomic_write(path) as out:
        for place, (item, prediction) in enumerate(zip(structures, predictions, strict=True)):
            frame = _as_frame(item)
            info, columns = label_values(frame)
            info |= {prefix + name: bool(values[place]) for name, values in (flags or {}).items()}
            _add_prediction(info, columns, prediction, prefix, len(frame.structure), levels, raw)
            out.write(format_frame(frame.structure, info, columns))


def _as_frame(item: Any) -> Frame:
    if isinstance(item, Frame):
        return item
    return Frame(item if isinstance(item, Structure) else Structure.from_ase(item))


def _add_prediction(
    info: dict[str, Any],
    columns: dict[str, np.ndarray],
    prediction: Any,
    prefix: str,
    n_atoms: int,
    levels: Sequence[float],
    raw: bool,
) -> None:
    shapes = {"energy": (), "forces": (n_atoms, 3), "stress": (6,), "energies": (n_atoms,), "novelty": (n_atoms,)}
    named = _DEVIATIONS | ({"uncertainty": "std"} if raw else {})
    says = getattr(prediction, "calibrated", lambda _: False)
    calibrated = [output for output in _OUTPUTS if says(output) and not raw]
    if calibrated:
        info[f"{prefix}calibrated"] = " ".join(calibrated)
    for output in (*_OUTPUTS, "novelty"):
        fields = {output: output} | {f"{output}_{name}": f"{output}_{field}" for name, field in named.items()}
        values = {key: getattr(prediction, field, None) for key, field in fields.items()}
        if not hasattr(prediction, f"{output}_uncertainty"):  # no prediction of ours: all it has are raw spreads
            values[f"{output}_uncertainty"] = values.pop(f"{output}_uncertainty_raw")
        if output in _INTERVALS:
            held = [p for p in levels if prediction.supports(output, p, raw)]
            values |= {f"{output}_halfwidth_{p:g}": prediction.half_width(output, p, raw) for p in held}
        for key, value in values.items():
            if value is None:
                continue
            array = np.asarray(value, dtype=np.float64)
            if array.shape != shapes[output]:
                raise InputError(
                    f"prediction.{key} has shape {array.shape}, expected {shapes[output]}"
                )
            target = columns if output in _PER_ATOM else info
            target[prefix + key] = array


def _check_named_found(named: Mapping[str, str], tally: Tally, names: list[str]) -> None:
    for label, key in named.items():
        if key not in tally.seen:
            raise InputError(
                f"no structure of {', '.join(names)} has the key '{key}' named for {label}"
                f"{did_you_mean(key, tally.seen)}; keys found: {', '.join(tally.seen) or 'none'}"
            )


def _no_labels(tally: Tally, names: list[str], n: int) -> InputError:
    likely = tally.label_like()
    found = ", ".join(tally.seen) or "none besides species and positions"
    message = (
        f"{', '.join(names)}: {n} structures, none with an energy, forces or a stress to learn "
        f"from. Keys found: {found}."
    )
    guesses = {}
    for label, word in (("energy", "energ"), ("forces", "forc"), ("stress", "stress")):
        match = next((key for key in likely if word in key.lower()), None)
        if match:
            guesses[label] = match
    if guesses:
        meant = ", ".join(f"{key} for {label}" for label, key in guesses.items())
        return InputError(f"{message} Did you mean {meant}? Then name them: keys={guesses}")
    return InputError(
        f"{message} Write labels under energy, forces, stress (or REF_energy, …), or name "
        "their keys: keys={'energy': 'my_energy'}"
    )
