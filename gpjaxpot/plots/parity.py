"""Predicted against reference values, and their errors."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from gpjaxpot.plots.style import GREY, MANY_POINTS, ONE_COLUMN, finish, legend, line, new_figure

if TYPE_CHECKING:
    import matplotlib.figure

Values = Float[np.ndarray, " points"]


def parity_energy(
    reference: Values, predicted: Values, groups: Sequence[str] | None = None
) -> "matplotlib.figure.Figure":
    """Plot predicted against reference energies (eV/atom), their errors (meV/atom) below.

    `groups` names each point's group, for colour and legend.
    """
    return _parity(reference, predicted, "energy", "eV/atom", "meV/atom", groups)


def parity_forces(
    reference: Values, predicted: Values, groups: Sequence[str] | None = None
) -> "matplotlib.figure.Figure":
    """Plot predicted against reference force components (eV/Å), their errors (meV/Å) below.

    `groups` names each point's group, for colour and legend.
    """
    return _parity(reference, predicted, "force component", "eV/Å", "meV/Å", groups)


def parity_stress(
    reference: Values, predicted: Values, groups: Sequence[str] | None = None
) -> "matplotlib.figure.Figure":
    """Plot predicted against reference stress components (GPa), their errors (GPa) below.

    `groups` names each point's group, for colour and legend.
    """
    return _parity(reference, predicted, "stress component", "GPa", "GPa", groups, 1.0)


def _parity(
    reference: Values,
    predicted: Values,
    quantity: str,
    unit: str,
    error_unit: str,
    groups: Sequence[str] | None,
    factor: float = 1e3,
) -> "matplotlib.figure.Figure":
    """Draw both panels; the error is predicted minus reference, `factor` of its unit being one `unit`."""
    figure = new_figure(ONE_COLUMN, 4.4)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.3))
    error = factor * (predicted - reference)
    for axes, y in ((top, predicted), (bottom, error)):
        _points(axes, reference, y, groups)
    ends = [min(reference.min(), predicted.min()), max(reference.max(), predicted.max())]
    top.plot(ends, ends, color=GREY, lw=0.8, zorder=0)
    bottom.axhline(0, color=GREY, lw=0.8, zorder=0)
    mae, rmse = np.mean(np.abs(error)), np.sqrt(np.mean(error**2))
    text = f"MAE {mae:.3g} {error_unit}\nRMSE {rmse:.3g} {error_unit}\n{len(error)} points"
    top.text(0.97, 0.04, text, transform=top.transAxes, ha="right", va="bottom", fontsize=8)
    top.set(ylabel=f"predicted {quantity} ({unit})")
    bottom.set(xlabel=f"reference {quantity} ({unit})", ylabel=f"error ({error_unit})")
    if groups is not None:
        legend(top, loc="upper left")
    figure.align_ylabels()
    return finish(figure)


def _points(axes: Any, x: Values, y: Values, groups: Sequence[str] | None) -> None:
    """Draw points, by group if there are groups, as a density if there are many."""
    if groups is None and len(x) > MANY_POINTS:
        shape = (60, 45) if axes.get_subplotspec().is_first_row() else (60, 20)
        axes.hexbin(x, y, gridsize=shape, bins="log", mincnt=1, cmap="viridis", lw=0.1)
        return
    names = dict.fromkeys(groups) if groups is not None else [""]
    for k, name in enumerate(names):
        here = slice(None) if groups is None else np.asarray(groups) == name
        style = {"ms": 3.5, "mew": 0.6, "mfc": "none", "label": name}
        axes.plot(x[here], y[here], **style, **line(k, marker=True) | {"ls": "none"})
