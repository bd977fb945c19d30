"""`gpjaxpot evaluate`: errors of a model on labelled data, and how far its σ can be trusted."""

from pathlib import Path
from typing import Annotated

import typer

from gpjaxpot.cli.arguments import Data, Keys, Model, NoUncertainty, Raw


def evaluate(
    model: Model,
    data: Data,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="F.json", help="Write all numbers there too."),
    ] = None,
    no_uncertainty: NoUncertainty = False,
    raw: Raw = False,
    key: Keys = None,
) -> None:
    """Compare a model with labelled data: its errors, and scores of its uncertainties.

    Of a calibrated model about 90 % of errors lie in its 90 % intervals, and the z variance,
    that of error/σ, is near 1. The scores are those of the calibrated uncertainties where the
    model has them, and with --raw those of its own spreads; the JSON file has both.
    """
    import json

    from gpjaxpot.applications.evaluate import evaluate as compute
    from gpjaxpot.cli import report
    from gpjaxpot.cli.data import check_output, read_data, refuse_bad_structures, warn_of_fitted
    from gpjaxpot.cli.evaluation import show_evaluation
    from gpjaxpot.potential.potential import Potential
    from gpjaxpot.structures.files import atomic_write

    if json_file is not None:
        check_output(json_file, [model, *data])
    potential = Potential.load(model)
    frames = read_data(data, key)
    refuse_bad_structures(frames)
    warn_of_fitted(potential, frames)
    with report.progress() as show:
        result = compute(
            potential,
            frames,
            uncertainty=not no_uncertainty,
            callback=lambda done, total: show("predicting", done, total),
        )
    show_evaluation(result, f"Errors of {model}", raw)
    if json_file is not None:
        with atomic_write(json_file) as out:
            json.dump(result, out, indent=2, allow_nan=False)
            out.write("\n")
        report.line(f"\nwrote  {json_file}")
