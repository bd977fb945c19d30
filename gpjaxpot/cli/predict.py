"""`gpjaxpot predict`: energy, forces and stress of structures, with the σ of each, in a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpjaxpot.cli.arguments import Data, Keys, Model, NoUncertainty, Raw

if TYPE_CHECKING:
    from gpjaxpot.potential.potential import Potential

_SUFFIXES = {".xyz", ".extxyz"}
BELOW_TRAINING = "below_training_min_distance"
"""Key of what is said of each structure, after GPJ_."""


def predict(
    model: Model,
    data: Data,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="F.xyz", help="Extended XYZ to write.", show_default=False),
    ],
    no_uncertainty: NoUncertainty = False,
    raw: Raw = False,
    interval: Annotated[
        list[float] | None,
        typer.Option(
            "--interval",
            metavar="LEVEL",
            help="Write the half-widths of intervals of this probability too, such as 0.95, with the ending "
            "_halfwidth_0.95. May be repeated.",
            show_default=False,
        ),
    ] = None,
    key: Keys = None,
) -> None:
    """Predict structures and write them as extended XYZ.

    Keys are GPJ_energy (eV), GPJ_forces (eV/Å), GPJ_stress (eV/Å³) and GPJ_energies (eV), each
    also with the ending `_uncertainty` (one standard deviation; calibrated for what
    GPJ_calibrated names), and raw ones: `_uncertainty_raw`, `_uncertainty_epistemic` (too
    little data) and `_uncertainty_aleatoric` (noise of the labels), and, of a model with a
    posterior over levels, `_uncertainty_epistemic_within` and `…_between`. GPJ_novelty above 1
    marks environments unlike those that were calibrated on, GPJ_below_training_min_distance
    structures in which atoms come nearer to each other than in any of the fit. Labels in DATA are kept under
    `REF_energy`, `REF_forces` and `REF_stress`.
    """
    from gpjaxpot.applications.least_distances import least_distances_of
    from gpjaxpot.applications.species import check_species
    from gpjaxpot.cli import report
    from gpjaxpot.cli.data import check_output, read_data, refuse_bad_structures, warn_of_nearer
    from gpjaxpot.potential.potential import Potential
    from gpjaxpot.structures.io import write_predictions

    _check_suffix(output)
    check_output(output, [model, *data])
    potential = Potential.load(model)
    _check_levels(potential, interval or (), no_uncertainty, raw)
    frames = read_data(data, key, labels_required=False)
    refuse_bad_structures(frames)
    check_species(frames, potential.species)
    least = least_distances_of(potential)
    nearer = warn_of_nearer(least, frames)
    flags = {BELOW_TRAINING: [i in nearer for i in range(len(frames))]} if least else {}
    predictions = []
    neighbours = potential.neighbours()
    with report.progress() as show:
        for done, frame in enumerate(frames, start=1):
            prediction = potential.predict(frame.structure, uncertainty=not no_uncertainty, neighbours=neighbours)
            predictions.append(prediction)
            show("predicting", done, len(frames))
    if not no_uncertainty:
        _show_least_certain(potential, frames, predictions, raw)
    write_predictions(output, frames, predictions, levels=interval or (), raw=raw, flags=flags)
    report.line(f"\nwrote  {output}")


def _check_suffix(output: Path) -> None:
    from gpjaxpot.errors import InputError

    special = output.exists() and not output.is_file()
    if output.suffix.lower() not in _SUFFIXES and not special:
        raise InputError(f"{output}: predictions are written as extended XYZ; name it {output.with_suffix('.xyz')}")


def _check_levels(potential: "Potential", levels: Sequence[float], no_uncertainty: bool, raw: bool) -> None:
    """Refuse intervals that there will not be, before any work; say which quantities will have none of a level."""
    from gpjaxpot.cli import report
    from gpjaxpot.errors import InputError
    from gpjaxpot.uncertainty.conformal import check_level

    if levels and no_uncertainty:
        raise InputError("--interval and --no-uncertainty contradict each other: leave one of them out")
    for level in levels:
        check_level(level)
        known = {} if raw or potential.calibration is None else potential.calibration.quantiles
        named = [name for name in ("energy", "forces", "stress") if name in known]
        short = [name for name in named if not known[name].supports(level)]
        if short and len(short) == len(named):
            known[short[0]].width(level)  # says what it would take
        if short:
            report.line(f"no {level:g} intervals of {' and '.join(short)}: too few structures to calibrate them on")


def _show_least_certain(potential: "Potential", frames: Sequence[Any], predictions: Sequence[Any], raw: bool) -> None:
    """Print where the model is least sure of itself, and how far that can be believed."""
    import numpy as np

    from gpjaxpot.cli import report
    from gpjaxpot.cli.evaluation import calibration_words
    from gpjaxpot.units import EV_TO_MEV

    energy = [p.half_width("energy", raw=raw) / len(f.structure) for f, p in zip(frames, predictions, strict=True)]
    forces = [np.linalg.norm(prediction.half_width("forces", raw=raw), axis=1) for prediction in predictions]
    lowest, highest = EV_TO_MEV * min(energy), EV_TO_MEV * max(energy)
    worst = int(np.argmax([sizes.max() for sizes in forces]))
    report.heading(f"Uncertainties (one standard deviation, {calibration_words(potential.calibration, raw)})")
    report.pairs(
        [
            ("energy", f"{lowest:.2f} to {highest:.2f} meV/atom"),
            (
                "force",
                f"{np.concatenate(forces).mean():.3f} eV/Å on average over atoms, at most "
                f"{forces[worst].max():.3f} eV/Å: atom {forces[worst].argmax()} of "
                f"{frames[worst].source}",
            ),
        ]
    )
    novel = [0.0 if p.novelty is None else float(np.max(p.novelty)) for p in predictions]
    outside = sum(value > 1.0 for value in novel)
    if outside:
        newest = int(np.argmax(novel))
        report.line(
            f"{outside} of {len(frames)} structures are unlike those of the calibration, in some environment\n"
            f"or as a whole; its word does not hold there: most so {frames[newest].source}\n"
            f"(GPJ_novelty {novel[newest]:.1f}; above 1 is new)"
        )
