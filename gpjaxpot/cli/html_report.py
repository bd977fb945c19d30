"""`gpjaxpot report`: errors and uncertainties of a model as a page with figures."""

import os
from pathlib import Path
from typing import Annotated

import typer

from gpjaxpot.cli.arguments import Data, Keys, Model, Raw

_SUFFIXES = {".html", ".htm"}


def report(
    model: Model,
    data: Data,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="F.html", help="Page to write.", show_default=False),
    ],
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="F.json", help="Write all numbers there too."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Write the figures there too, as PNG."),
    ] = None,
    raw: Raw = False,
    key: Keys = None,
) -> None:
    """Write a page about a model's errors on labelled data, and about its uncertainties.

    One HTML file that needs no network: errors for each group and species, parity, reliability,
    coverage, σ against errors, what uncertainties find, and the worst atoms in their structures,
    to be rotated. Uncertainties are calibrated ones where the model has them, beside the raw ones;
    with --raw the latter alone. Figures need the extra `plot`.
    """
    from gpjaxpot.applications.figures import HOW_TO_PLOT, can_plot
    from gpjaxpot.applications.report import make_report
    from gpjaxpot.cli import report as terminal
    from gpjaxpot.cli.data import check_output, read_data, refuse_bad_structures, warn_of_fitted
    from gpjaxpot.errors import InputError
    from gpjaxpot.potential.potential import Potential

    if not can_plot():
        raise InputError(HOW_TO_PLOT)
    _check_suffix(output)
    check_output(output, [model, *data])
    if json_file is not None:
        check_output(json_file, [model, *data])
        if os.path.realpath(json_file) == os.path.realpath(output):
            raise InputError(f"{output} is named twice: give the page and its numbers files of their own")
    if figures is not None:
        _check_folder(figures)
    potential = Potential.load(model)
    frames = read_data(data, key)
    refuse_bad_structures(frames)
    warn_of_fitted(potential, frames)
    with terminal.progress() as show:
        made = make_report(
            potential,
            frames,
            model_file=str(model),
            data_files=[str(path) for path in data],
            raw=raw,
            callback=lambda done, total: show("predicting", done, total),
        )
    made.save_page(output)
    terminal.line(f"\nwrote  {output}")
    if json_file is not None:
        made.save_json(json_file)
        terminal.line(f"wrote  {json_file}")
    if figures is not None:
        paths = made.save_figures(figures)
        terminal.line(f"wrote  {len(paths)} figures in {figures}")


def _check_folder(folder: Path) -> None:
    """Refuse what could not be made or written later."""
    from gpjaxpot.errors import InputError

    there = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"cannot write figures into {folder}: {there} is no folder that can be written; name another")


def _check_suffix(output: Path) -> None:
    from gpjaxpot.errors import InputError

    special = output.exists() and not output.is_file()
    if output.suffix.lower() not in _SUFFIXES and not special:
        raise InputError(f"{output}: a report is a page in HTML; name it {output.with_suffix('.html')}")
