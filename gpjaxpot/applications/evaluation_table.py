"""Tables for people of what `evaluate` found."""

from collections.abc import Mapping
from typing import Any

_ERRORS = {
    "structures": ("n_structures", "d"),
    "atoms": ("n_atoms", "d"),
    "energy MAE (meV/atom)": ("energy_mae_meV_per_atom", ".2f"),
    "energy RMSE (meV/atom)": ("energy_rmse_meV_per_atom", ".2f"),
    "force MAE (eV/Å)": ("forces_mae_eV_per_A", ".4f"),
    "force RMSE (eV/Å)": ("forces_rmse_eV_per_A", ".4f"),
    "stress MAE (GPa)": ("stress_mae_GPa", ".3f"),
    "stress RMSE (GPa)": ("stress_rmse_GPa", ".3f"),
}
_SCORES = {
    "z variance": ("z_variance", ".2f"),
    "miscalibration area": ("miscalibration_area", ".3f"),
    "NLL": ("nll", ".3f"),
    "CRPS": ("crps", ".3g"),
    "mean σ": ("sharpness", ".3g"),
    "Spearman": ("spearman", ".2f"),
    "AUROC top 5 %": ("auroc_top5", ".2f"),
}
_IDEAL = {"z variance": "1", "miscalibration area": "0"}


def evaluation_table(result: Mapping[str, Any]) -> list[list[str]]:
    """Return errors as rows of text: a header, all structures, then each group.

    Columns that no row has a number for are left out; a single missing number is "–".
    """
    rows = {"all": result, **result["groups"]}
    table = [["group", *_ERRORS]]
    for name, row in rows.items():
        table.append([name, *(_text(row[key], form) for key, form in _ERRORS.values())])
    return _without_empty_columns(table)


def uncertainty_table(result: Mapping[str, Any], raw: bool = False) -> list[list[str]]:
    """Return uncertainty scores as rows of text, one for each observable that was scored.

    Of a calibrated model those of its calibration, or of its `raw` spreads. Coverage columns read
    "90 % covers"; a calibrated model has the same number below. No rows but the header if nothing
    was scored.
    """
    found = result["uncertainty_raw"] if raw and result["uncertainty_raw"] is not None else result["uncertainty"]
    blocks = {name: block for name, block in (found or {}).items() if block}
    levels = list(next(iter(blocks.values()))["coverage"]) if blocks else []
    table = [["", *_SCORES, *(f"{100 * float(level):g} % covers" for level in levels), "unit"]]
    for name, block in blocks.items():
        numbers = [_text(block[key], form) for key, form in _SCORES.values()]
        covered = [_percent(block["coverage"][level]) for level in levels]
        named = f"{name} (raw)" if block.get("calibrated") is False and not raw else name
        table.append([named, *numbers, *covered, block["unit"]])
    return table


def scores_by_row(scores: list[list[str]]) -> list[list[str]]:
    """Return an `uncertainty_table` with a row for each score, and what a calibrated model has."""
    (_, *names), *columns, (_, *units) = zip(*scores, strict=True)
    titles = ["", *(f"{name} {unit}" for name, unit in zip(names, units, strict=True))]
    rows = [[score, *values, _ideal(score)] for score, *values in columns]
    return [[*titles, "calibrated"], *rows]


def provenance(record: Mapping[str, Any] | None) -> str:
    """What uncertainties are, in a few words, by a calibration's record; None for raw ones."""
    return "raw: not calibrated" if record is None else f"calibrated ({record['method']}, on {record['source']})"


def _ideal(name: str) -> str:
    """Return what a calibrated model has for a score, if that can be said."""
    if name.endswith("% covers"):
        return name.removesuffix(" covers")
    return _IDEAL.get(name, "")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"


def _text(value: float | int | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _without_empty_columns(table: list[list[str]]) -> list[list[str]]:
    kept = [
        column
        for column in range(len(table[0]))
        if any(row[column] != "–" for row in table[1:]) or column == 0
    ]
    return [[row[column] for column in kept] for row in table]
