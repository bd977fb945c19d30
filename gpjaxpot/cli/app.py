"""The command `gpjaxpot` and its sub-commands."""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gpjaxpot.cli.calibrate import calibrate
from gpjaxpot.cli.check import check
from gpjaxpot.cli.compiled_programs import kept_programs
from gpjaxpot.cli.demo import demo
from gpjaxpot.cli.estimate import estimate
from gpjaxpot.cli.evaluate import evaluate
from gpjaxpot.cli.fit import fit
from gpjaxpot.cli.html_report import report
from gpjaxpot.cli.info import info
from gpjaxpot.cli.predict import predict
from gpjaxpot.cli.template import template
from gpjaxpot.errors import InputError

BAD_INPUT = 2
"""Exit status when the input cannot be used; also that of a wrong option."""


class Commands(TyperGroup):
    """Sub-commands that end with one message and status 2 where the input cannot be used."""

    def invoke(self, ctx: Any) -> Any:
        """Run the sub-command in float64, with the programs that were compiled before."""
        _prepare_jax()
        try:
            with kept_programs():
                return super().invoke(ctx)
        except InputError as error:
            typer.secho("error: ", fg="red", bold=True, err=True, nl=False)
            typer.echo(str(error), err=True)
            raise typer.Exit(BAD_INPUT) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Joins the lines of a docstring's paragraph.
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: gpjaxpot demo",
)

for _function, _example in (
    (demo, "gpjaxpot demo --output silicon"),
    (check, "gpjaxpot check train.xyz"),
    (estimate, "gpjaxpot estimate train.xyz --set model.n_inducing=3000"),
    (fit, "gpjaxpot fit train.xyz --output model.safetensors --test test.xyz"),
    (evaluate, "gpjaxpot evaluate model.safetensors test.xyz --json scores.json"),
    (report, "gpjaxpot report model.safetensors test.xyz --output report.html"),
    (predict, "gpjaxpot predict model.safetensors new.xyz --output predicted.xyz"),
    (calibrate, "gpjaxpot calibrate model.safetensors held_out.xyz --output calibrated.safetensors"),
    (info, "gpjaxpot info model.safetensors"),
    (template, "gpjaxpot template > fit.toml"),
):
    app.command(epilog=f"Example: {_example}")(_function)


def main() -> None:
    """Run the command line and end the process with its status."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that has no Å shows "?" there; that is no reason to stop.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    app(prog_name="gpjaxpot")


def _prepare_jax() -> None:
    # JAX reads both when it is imported, which a command does only when it needs it. XLA
    # writes pages of harmless errors about its compilation cache (jax#38445); what goes wrong
    # in earnest is raised.
    os.environ["JAX_ENABLE_X64"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", True)


def _show_version(wanted: bool) -> bool:
    if wanted:
        from gpjaxpot import __version__

        typer.echo(f"gpjaxpot {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _gpjaxpot(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version, and end."),
    ] = False,
) -> None:
    """Gaussian-process interatomic potentials with the exact variance of all they predict."""
