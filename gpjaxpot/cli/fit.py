"""`gpjaxpot fit`: from labelled structures to a potential in one file."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpjaxpot.cli.arguments import Config, Data, DropBad, Keys, Overrides

if TYPE_CHECKING:
    from gpjaxpot.potential.potential import Potential
    from gpjaxpot.potential.settings import Settings
    from gpjaxpot.structures.labels import Frame


def fit(
    data: Data,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="MODEL",
            help="Model file to write, for example model.safetensors.",
            show_default=False,
        ),
    ],
    config: Config = None,
    set_: Overrides = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(
            "--test",
            metavar="DATA2",
            help="Labelled structures to test the model on. May be repeated.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of every random choice; short for --set train.seed=N."),
    ] = None,
    drop_bad: DropBad = None,
    key: Keys = None,
) -> None:
    """Fit a potential to labelled structures and write it to one file.

    What no setting says is chosen from the data, and each choice is printed with its reason.
    If it is interrupted, the same command again takes up the work where it was left.
    """
    from gpjaxpot.cli import report
    from gpjaxpot.cli.choices import show_choices
    from gpjaxpot.cli.data import check_output, read_data, refuse_faults, show_findings
    from gpjaxpot.cli.drop_bad import Dropping
    from gpjaxpot.potential.linter import lint
    from gpjaxpot.potential.settings import load_settings
    from gpjaxpot.structures.check import check
    from gpjaxpot.structures.copies import check_leakage

    check_output(output, [*data, *(test or []), config])
    dropping = Dropping(drop_bad, [*data, *(test or []), config], output)
    overrides = [*(set_ or []), *([] if seed is None else [f"train.seed={seed}"])]
    settings = load_settings(config, overrides)
    frames = dropping.left(read_data(data, key, "Training data", rejected=dropping.rejected))
    test_frames = _read_test(test, key, frames)
    findings = [*check(frames), *check_leakage(frames, test_frames), *lint(settings, frames)]
    show_findings(findings)
    refuse_faults(findings)
    dropping.write()

    begun = time.monotonic()
    potential = _fit_or_say_how_to_resume(frames, settings, output)
    potential.save(output)
    elapsed = time.monotonic() - begun
    show_choices(potential)
    _show_errors(potential, frames, test_frames)
    report.line(f"\nwrote  {output} ({report.memory(output.stat().st_size)}; the fit took {report.seconds(elapsed)})")


def _partial(output: Path) -> Path:
    """Return where the work done so far is kept until the model is written."""
    return output.with_name(f"{output.name}.partial")


def _read_test(paths: Sequence[Path] | None, key: Sequence[str] | None, training: "Sequence[Frame]") -> "list[Frame]":
    """Return the test frames, having refused what the model could not predict."""
    from gpjaxpot.applications.species import check_species
    from gpjaxpot.cli.data import read_data, refuse_bad_structures

    if not paths:
        return []
    frames = read_data(paths, key, "Test data")
    refuse_bad_structures(frames)
    known = {int(number) for frame in training for number in frame.structure.numbers}
    check_species(frames, sorted(known))
    return frames


def _fit_or_say_how_to_resume(frames: "Sequence[Frame]", settings: "Settings", output: Path) -> "Potential":
    """Fit, or end with status 130 when told to stop."""
    import jax

    from gpjaxpot.cli import report
    from gpjaxpot.cli.interruption import INTERRUPTED, stoppable
    from gpjaxpot.potential.crew import all_devices
    from gpjaxpot.potential.fit import fit as compute
    from gpjaxpot.potential.growth import checkpoints

    partial = _partial(output)
    try:
        with stoppable() as stop:
            report.heading("Fit")
            mesh = all_devices() if jax.device_count() > 1 else None
            if mesh is not None:
                report.line(f"covariances are made on {mesh.size} devices")
            if checkpoints(partial):
                report.line(f"{partial}.*: taking up interrupted work, if data and settings are the same")
            with report.progress() as show:

                def tell(stage: str, done: int, total: int) -> None:
                    stop.check()
                    show(stage, done, total)

                return compute(frames, settings=settings, callback=tell, checkpoint=partial, mesh=mesh)
    except KeyboardInterrupt:
        kept, then = "nothing is kept yet", "begins anew"
        if checkpoints(partial):
            kept, then = f"the work done is in {partial}.*", "takes up from there"
        typer.echo(
            f"interrupted: {kept}; {output} was not touched. The same command again {then}.",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None


def _show_errors(potential: "Potential", frames: "Sequence[Frame]", test_frames: "Sequence[Frame]") -> None:
    from gpjaxpot.applications.evaluate import evaluate
    from gpjaxpot.cli import report
    from gpjaxpot.cli.evaluation import show_evaluation

    for name, part in (("Training", frames), ("Test", test_frames)):
        if not part:
            continue
        with report.progress() as show:
            result = evaluate(
                potential,
                part,
                uncertainty=name == "Test",
                callback=lambda done, total, name=name, show=show: show(f"{name.lower()} errors", done, total),
            )
        show_evaluation(result, f"{name} errors")
