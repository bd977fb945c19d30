"""`gpjaxpot info`: what is inside a model file."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from gpjaxpot.cli.arguments import Model
from gpjaxpot.structures.elements import symbol

_UNITS = {
    **dict.fromkeys(("cutoff", "sigma", "cutoff_width", "radial_scale", "outer", "least_distances"), "Å"),
    **dict.fromkeys(("energy", "isolated_energy", "energy_per_species", "values"), "eV"),
    **dict.fromkeys(("time", "fit_seconds"), "s"),
    "variance": "eV²",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    "memory": "GB",
}
# Which no person reads; `--json` has them.
_FOR_PROGRAMS = {"structure_marks"}
# Names of lists of atomic numbers, which people read as symbols.
_ELEMENTS = {"species", "numbers"}


def info(
    model: Model,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    config: Annotated[
        bool, typer.Option("--config", help="Print the settings that repeat the fit, as TOML for `fit --config`.")
    ] = False,
) -> None:
    """Say what is inside a model file: data, settings, choices, units, versions."""
    import json

    from gpjaxpot.cli import report
    from gpjaxpot.cli.choices import show_choices
    from gpjaxpot.potential.potential import STANDARD_ERROR, Potential

    potential = Potential.load(model)
    summary = potential.summary()
    if config:
        typer.echo(_config(summary), nl=False)
        return
    if as_json:
        typer.echo(json.dumps(summary, indent=2, allow_nan=False))
        return
    report.heading(f"{model} ({report.memory(model.stat().st_size)})")
    single = {name: value for name, value in summary.items() if not _nested(value) and name not in _FOR_PROGRAMS}
    error = single.pop(STANDARD_ERROR, None)
    texts = {name: _text(name, value) for name, value in single.items()}
    if error is not None:
        texts["log_marginal_likelihood"] += f" ± {error:.2g}"
    report.pairs((_words(name), text) for name, text in texts.items())
    for name, value in summary.items():
        if _nested(value) and name != "choices":
            report.heading(_words(name))
            report.pairs((path.partition(".")[2], text) for path, text in _flat(value, name))
    show_choices(potential)


def _config(summary: Mapping[str, Any]) -> str:
    """Return resolved settings as TOML.

    Raises:
        InputError: if they do not say what descriptor there was.
    """
    from gpjaxpot.errors import InputError
    from gpjaxpot.potential.settings import Settings

    settings = Settings.model_validate(summary["settings"])
    if not settings.names_kernel:
        raise InputError(
            "the descriptor of this model was given in Python, and stands in no configuration: see `kernel` in "
            "`gpjaxpot info MODEL --json`"
        )
    head = f"# Repeats the fit on the same data (SHA-256 {summary['fingerprint'][:16]}…), machine and versions."
    return f"{head}\n{settings.toml()}"


def _nested(value: Any) -> bool:
    """Whether it is a record, or a list of records, and needs a section of its own."""
    several = isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
    return several or (isinstance(value, Mapping) and bool(value))


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield dotted names and texts of what is nested in a section."""
    if not _nested(value):
        yield path, _text(path, value)
        return
    for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from _flat(item, f"{path}.{key}" if path else str(key))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(path: str, value: Any) -> str:
    """Return a value with its unit, which the nearest part of its dotted name says."""
    parts = path.split(".")[::-1]
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, list):
        return ", ".join(_text(path, item) for item in value)
    if isinstance(value, int) and parts[0] in _ELEMENTS:
        return symbol(value)
    if isinstance(value, float):
        unit = "" if "std_of_logarithm" in parts else next((_UNITS[part] for part in parts if part in _UNITS), "")
        return f"{value:.6g} {unit}".rstrip()
    return str(value)
