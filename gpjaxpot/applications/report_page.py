"""The page of a report: one HTML file that needs nothing else, and no network."""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from gpjaxpot.applications.evaluation_table import evaluation_table, scores_by_row, uncertainty_table
from gpjaxpot.applications.report_figures import ReportFigure
from gpjaxpot.units import EV_TO_MEV

# A larger vector graphic is slow to draw, and is stored as pixels.
_LARGEST_SVG = 120_000
Table = dict[str, Any]


def report_page(
    record: Mapping[str, Any], figures: Sequence[ReportFigure], scenes: Sequence[Mapping[str, Any]], title: str
) -> str:
    """Return the HTML text. Whatever comes from the data, such as names of groups and files, is escaped.

    Args:
        record: of `report_record`, with `model.file` and `data` filled in.
        figures: of `report_figures`.
        scenes: of `report_scenes`.
        title: of the page.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_resource("report.html.jinja"))
    return template.render(
        title=title,
        record=record,
        facts=_facts(record),
        fitted=_fitted_words(record),
        novelty=_novelty_words(record),
        errors=_table(evaluation_table(record["evaluation"])),
        species=_species_table(record),
        scores=_scores_tables(record),
        worst_atoms=_atoms_table(record),
        worst_structures=_structures_table(record),
        figures=[{"name": f.name, "title": f.title, "caption": f.caption, "source": _image(f)} for f in figures],
        scenes=scenes,
        # Files of the package, not data.
        style=Markup(_resource("report.css")),
        script=Markup(_resource("report.js")),
    )


def _resource(name: str) -> str:
    return resources.files("gpjaxpot.applications").joinpath(name).read_text("utf-8")


def _image(figure: ReportFigure) -> str:
    """Return the figure as a data URI: vectors if they are few, else pixels.

    As an image a vector graphic keeps its identifiers to itself and runs no script.
    """
    for form, kind in (("svg", "image/svg+xml"), ("png", "image/png")):
        out = io.BytesIO()
        options = {"metadata": {"Date": None}} if form == "svg" else {}
        figure.figure.savefig(out, format=form, **options)
        data = out.getvalue()
        if form == "png" or len(data) <= _LARGEST_SVG:
            return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    raise AssertionError


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and texts for the head of the page."""
    model, data = record["model"], record["data"]
    method = model["method"] or "unknown"
    if model["n_inducing"]:
        method += f", {model['n_inducing']} inducing environments"
    if model["n_training_structures"]:
        method += f", fitted to {_count(model['n_training_structures'], 'structure')}"
    facts = [
        ("Model", model["file"] or "not stored in a file"),
        ("Method", method),
        ("Fingerprint of its data", model["fingerprint"] or "unknown"),
        ("Tested on", ", ".join(data["files"]) or "structures in memory"),
        ("Structures", f"{data['n_structures']}, with {_count(data['n_atoms'], 'atom')}: {', '.join(data['species'])}"),
        ("Uncertainties", record["provenance"]),
    ]
    if left_out := record["evaluation"]["n_isolated_left_out"]:
        facts.append(("Left out", f"{_count(left_out, 'isolated atom')}, which fix the zero of energy"))
    return facts


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _fitted_words(record: Mapping[str, Any]) -> str | None:
    """Return a warning where the model was fitted to what it is tested on."""
    count, total = len(record["fitted"]), record["data"]["n_structures"]
    if not count:
        return None
    return (
        f"the model was fitted to {count} of these {_count(total, 'structure')}. Its errors on them say little of "
        "others, and its uncertainties are too wide or too narrow for them."
    )


def _novelty_words(record: Mapping[str, Any]) -> str | None:
    """Return a warning where structures lie outside of what was calibrated on; None where none is due."""
    novelty = record["evaluation"]["novelty"]
    if not novelty or not novelty["n_outside"] or record["spreads"] == "raw":
        return None
    are = "is" if novelty["n_outside"] == 1 else "are"
    return (
        f"{novelty['n_outside']} of {_count(novelty['n_structures'], 'structure')} {are} unlike those that were "
        f"calibrated on, in some environment or as a whole (novelty up to {novelty['largest']:.2g}; above 1 is new): "
        "what the calibration says of them is extrapolated."
    )


def _table(rows: Sequence[Sequence[str]]) -> Table:
    return {"titles": rows[0], "rows": rows[1:]}


def _scores_tables(record: Mapping[str, Any]) -> list[Table]:
    """Return a table of scores for calibrated uncertainties and one for raw ones, as far as there are any."""
    evaluation = record["evaluation"]
    tables = []
    if record["spreads"] == "calibrated":
        tables.append(("Calibrated", uncertainty_table(evaluation)))
    tables.append(("Raw", uncertainty_table(evaluation, raw=True)))
    found = [(name, _table(scores_by_row(table))) for name, table in tables if len(table) > 1]
    return [{"name": name, **table, "titles": [*table["titles"][:-1], "ideal"]} for name, table in found]


def _species_table(record: Mapping[str, Any]) -> Table | None:
    if not record["species"]:
        return None
    calibrated = record["spreads"] == "calibrated"
    titles = ["species", "atoms", "force MAE (eV/Å)", "force RMSE (eV/Å)", "mean σ (eV/Å)", "90 % covers"]
    rows = []
    for name, row in record["species"].items():
        cells = [name, str(row["n_atoms"]), _text(row["forces_mae_eV_per_A"]), _text(row["forces_rmse_eV_per_A"])]
        cells += [_text(row["mean_sigma_eV_per_A"]), _percent(row["coverage_0.9"])]
        if calibrated:
            cells += [_text(row["mean_sigma_raw_eV_per_A"]), _percent(row["coverage_0.9_raw"])]
        rows.append(cells)
    return _table([[*titles, *(["mean raw σ (eV/Å)", "90 % covers, raw"] if calibrated else [])], *rows])


def _atoms_table(record: Mapping[str, Any]) -> Table | None:
    if not record["worst_atoms"]:
        return None
    short = _short_sources(record)
    titles = ["structure", "atom", "species", "|error| (eV/Å)", "σ (eV/Å)", "|error| / σ", "novelty"]
    rows = [
        [
            short[atom["structure"]],
            str(atom["atom"]),
            atom["species"],
            _text(atom["error_eV_per_A"]),
            _text(atom["sigma_eV_per_A"]),
            _text(atom["error_in_sigma"], ".1f"),
            _text(atom["novelty"], ".2f"),
        ]
        for atom in record["worst_atoms"]
    ]
    return _table([titles, *rows])


def _structures_table(record: Mapping[str, Any]) -> Table | None:
    if not record["worst_structures"]:
        return None
    short = _short_sources(record)
    titles = ["structure", "group", "atoms", "force RMSE (eV/Å)", "largest force error (eV/Å)"]
    titles += ["energy error (meV/atom)", "energy σ (meV/atom)", "novelty"]
    rows = []
    for place in record["worst_structures"]:
        item = record["structures"][place]
        energies = [item["energy_error_eV_per_atom"], item["energy_sigma_eV_per_atom"]]
        rows.append([
            short[place],
            item["group"] or "–",
            str(item["n_atoms"]),
            _text(item["forces_rmse_eV_per_A"]),
            _text(item["largest_force_error_eV_per_A"]),
            *(_text(None if e is None else EV_TO_MEV * e, ".2f") for e in energies),
            _text(item["novelty"], ".2f"),
        ])  # fmt: skip
    return _table([titles, *rows])


def _short_sources(record: Mapping[str, Any]) -> list[str]:
    """Return where each structure came from, without folders if the files' own names tell them apart."""
    files = record["data"]["files"]
    folders = {file: file.rpartition("/")[2] for file in files}
    if len(set(folders.values())) < len(folders):
        folders = {}
    names = []
    for place, item in enumerate(record["structures"]):
        source = item["source"] or f"structure {place}"
        file = next((file for file in folders if source.startswith(file)), "")
        names.append(folders.get(file, "") + source[len(file) :])
    return names


def _text(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
