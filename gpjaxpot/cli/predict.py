"""`gpjaxpot predict`: energy, forces and stress of structures, with the σ of each, in a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gpjaxpot.cli.arguments import NOT_CALIBRATED, Data, Keys, Model, NoUncertainty, Raw

_SUFFIXES = {".xyz", ".extxyz"}


def predict(
    model: Model,
    data: Data,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="F.xyz", help="Extended XYZ to write.", show_default=False),
    ],
    no_uncertainty: NoUncertainty = False,
    raw: Raw = False,
    key: Keys = None,
) -> None:
    """Predict structures and write them as extended XYZ.

    Keys are GPJ_energy (eV), GPJ_forces (eV/Å), GPJ_stress (eV/Å³) and GPJ_energies (eV), each
    also with the ending `_uncertainty` (one standard deviation), `_uncertainty_epistemic` (too
    little data) and `_uncertainty_aleatoric` (noise of the labels), and, of a model with a
    posterior over levels, `_uncertainty_epistemic_within` and `…_between`. Labels in DATA are kept
    under `REF_energy`, `REF_forces` and `REF_stress`.
    """
    from gpjaxpot.applications.species import check_species
    from gpjaxpot.cli import report
    from gpjaxpot.cli.data import check_output, read_data, refuse_bad_structures
    from gpjaxpot.potential.potential import Potential
    from gpjaxpot.structures.io import write_predictions

    _check_suffix(output)
    check_output(output, [model, *data])
    potential = Potential.load(model)
    frames = read_data(data, key, labels_required=False)
    refuse_bad_structures(frames)
    check_species(frames, potential.species)
    predictions = []
    neighbours = potential.neighbours()
    with report.progress() as show:
        for done, frame in enumerate(frames, start=1):
            prediction = potential.predict(frame.structure, uncertainty=not no_uncertainty, neighbours=neighbours)
            predictions.append(prediction)
            show("predicting", done, len(frames))
    write_predictions(output, frames, predictions)
    if not no_uncertainty:
        _show_least_certain(frames, predictions)
    if raw:
        report.line(NOT_CALIBRATED)
    report.line(f"\nwrote  {output}")


def _check_suffix(output: Path) -> None:
    from gpjaxpot.errors import InputError

    special = output.exists() and not output.is_file()
    if output.suffix.lower() not in _SUFFIXES and not special:
        raise InputError(f"{output}: predictions are written as extended XYZ; name it {output.with_suffix('.xyz')}")


def _show_least_certain(frames: Sequence[Any], predictions: Sequence[Any]) -> None:
    """Print where the model is least sure of itself."""
    import numpy as np

    from gpjaxpot.cli import report
    from gpjaxpot.units import EV_TO_MEV

    energy = [p.energy_std / len(f.structure) for f, p in zip(frames, predictions, strict=True)]
    forces = [np.linalg.norm(prediction.forces_std, axis=1) for prediction in predictions]
    lowest, highest = EV_TO_MEV * min(energy), EV_TO_MEV * max(energy)
    worst = int(np.argmax([sizes.max() for sizes in forces]))
    report.heading("Uncertainties (one standard deviation)")
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
