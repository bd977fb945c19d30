"""`gpjaxpot demo`: the main job on the silicon data that the package ships."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gpjaxpot.applications.demo import Demo

_SHOWS = {
    "silicon.safetensors": "the potential",
    "scores.json": "all numbers of the test",
    "predictions.xyz": "the test structures with predictions, σ and labels",
    "parity_energy.png": "energies, predicted against DFT",
    "parity_forces.png": "forces, predicted against DFT",
    "parity_stress.png": "stresses, predicted against DFT",
    "force_error_against_std.png": "is the error large where σ is?",
    "reliability.png": "do x % of truths lie below the x % quantile?",
    "z_histogram.png": "error/σ against the normal distribution",
}


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for what is written.")] = Path(
        "gpjaxpot-demo"
    ),
    set_: Annotated[list[str] | None, typer.Option("--set", hidden=True)] = None,
) -> None:
    """Fit 40 structures of silicon, test on 12 others, and draw the error bars.

    The structures, with energies, forces and stress by density-functional theory, come with the
    package. Takes about a minute on two cores: the descriptor is the usual one, while a fit that is
    given more time learns it from the data.
    """
    from gpjaxpot.applications.demo import run_demo
    from gpjaxpot.cli import report
    from gpjaxpot.potential.settings import load_settings

    with report.progress() as show:
        done = run_demo(output, load_settings(None, ["model.time=60", *(set_ or [])]), show)
    _show(done, output)


def _show(done: "Demo", output: Path) -> None:
    import numpy as np

    from gpjaxpot.applications.figures import HOW_TO_PLOT
    from gpjaxpot.cli import report
    from gpjaxpot.cli.choices import show_choices
    from gpjaxpot.cli.evaluation import show_evaluation

    atoms = sum(len(frame.structure) for frame in done.train)
    report.heading("Fit")
    report.line(
        f"{len(done.train)} structures of silicon, {atoms} atoms, in "
        f"{report.seconds(done.fit_seconds)} with compilation"
    )
    show_choices(done.potential)
    show_evaluation(done.result, "Errors on structures that were not fitted")
    forces = np.concatenate([frame.labels.forces.ravel() for frame in done.test])
    report.line(f"The forces themselves have a root mean square of {forces.std():.2f} eV/Å.")
    report.heading("Files")
    report.line(f"in {output}:")
    paths = [*done.files, *done.figures]
    report.pairs((f"  {path.name}", _SHOWS.get(path.name, "")) for path in paths)
    if not done.figures:
        report.line(f"No figures: {HOW_TO_PLOT}, then run the demo again.")
    report.heading("Next")
    report.line(f"  gpjaxpot info {done.files[0]}")
    report.line("  gpjaxpot fit YOUR_DATA.xyz --output model.safetensors --test OTHER.xyz")
