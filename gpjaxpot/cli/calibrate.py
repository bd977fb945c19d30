"""`gpjaxpot calibrate`: make the uncertainties of a model hold, on labelled structures that it was not fitted to."""

from pathlib import Path
from typing import Annotated

import typer

from gpjaxpot.cli.arguments import Data, Keys, Model


def calibrate(
    model: Model,
    data: Data,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="MODEL2", help="Model file to write.", show_default=False),
    ],
    method: Annotated[
        str,
        typer.Option(
            metavar="METHOD",
            help="scale (one number each), conformal (order statistics), class (a factor for each class of "
            "environments), flexible (a small network), or auto.",
        ),
    ] = "auto",
    level: Annotated[
        float, typer.Option(help="Probability at which class and flexible are made to hold for each atom.")
    ] = 0.6827,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    key: Keys = None,
) -> None:
    """Calibrate a model on structures that it was not fitted to, and write it to another file.

    Energies, forces and stresses stay as they are. Of what is predicted later as many labels lie in
    an interval as its level says, if it is of the kind of DATA: the structures should be drawn as
    those to be predicted will be.
    """
    from gpjaxpot.applications.species import check_species
    from gpjaxpot.cli import report
    from gpjaxpot.cli.data import check_output, read_data, refuse_bad_structures, warn_of_fitted
    from gpjaxpot.cli.evaluation import calibration_words
    from gpjaxpot.potential.calibrate import calibrate as compute
    from gpjaxpot.potential.potential import Potential

    check_output(output, [model, *data])
    potential = Potential.load(model)
    frames = read_data(data, key, "Calibration data")
    refuse_bad_structures(frames)
    warn_of_fitted(potential, frames)
    check_species(frames, potential.species)
    names = ", ".join(path.name for path in data)
    with report.progress() as show:
        made = compute(potential, frames, method, level, source=names, seed=seed, callback=show)
    made.save(output)
    assert made.calibration is not None
    record = made.calibration.record
    report.heading(f"Uncertainties, {calibration_words(made.calibration)}")
    report.pairs([("structures", str(record["n_structures"])), ("why", record["reason"])])
    rows = [["", "raw σ is multiplied by", "levels up to"]]
    for name, q in record["observables"].items():
        rows.append([name.replace("_", " "), f"{q['sigma']:.3f}", f"{q['highest_level']:.3f}"])
    report.numbers(rows)
    report.line(f"\nwrote  {output}")
