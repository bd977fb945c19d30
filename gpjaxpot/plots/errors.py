"""Errors against what they may depend on: the reference value, or the σ that was predicted."""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from gpjaxpot.plots.style import (
    COLOURS,
    GREY,
    MANY_POINTS,
    ONE_COLUMN,
    finish,
    legend,
    new_figure,
    plain_numbers,
)

if TYPE_CHECKING:
    import matplotlib.figure

Values = Float[np.ndarray, " points"]
# From here on σ and errors, which fill a plane, are drawn as a density.
_DENSE = 500
# A bin's root mean square is told from so many points at least.
_FEWEST = 10


def error_against_reference(
    reference: Values, error: Values, quantity: str, unit: str, bins: int = 15
) -> "matplotlib.figure.Figure":
    """Plot errors against the reference values, with the root mean square error (RMSE) of bins along them.

    Args:
        reference: the labels.
        error: predicted minus reference.
        quantity: what is predicted, such as "force component".
        unit: of both.
        bins: of equal width between the extremes, fewer if there are fewer than ten points for each; one with
            fewer than ten points has no RMSE.
    """
    figure = new_figure(ONE_COLUMN, 2.8)
    axes = figure.subplots()
    _points(axes, reference, error, MANY_POINTS)
    bins = max(1, min(bins, len(error) // _FEWEST))
    edges = np.linspace(reference.min(), reference.max(), bins + 1)
    place = np.clip(np.searchsorted(edges, reference, side="right") - 1, 0, bins - 1)
    parts = [(0.5 * (edges[k] + edges[k + 1]), error[place == k]) for k in range(bins)]
    kept = [(x, np.sqrt(np.mean(part**2))) for x, part in parts if len(part) >= min(_FEWEST, len(error))]
    x, rmse = np.array(kept).T
    style = {"color": COLOURS[1], "lw": 1.4, "marker": "o", "ms": 3, "zorder": 3}
    axes.plot(x, rmse, label="± RMSE of a bin", **style)
    axes.plot(x, -rmse, **style)
    axes.axhline(0, color=GREY, lw=0.8, zorder=0)
    axes.set(xlabel=f"reference {quantity} ({unit})", ylabel=f"error ({unit})")
    legend(axes, loc="upper right")
    return finish(figure)


def error_hexbin(std: Values, error: Values, unit: str, bins: int = 15) -> "matplotlib.figure.Figure":
    """Plot |error| against σ as a density, with the RMSE of bins of equal count along σ, on logarithmic axes.

    Calibrated σ have bins on the diagonal; above it they are too small.

    Args:
        std: predicted standard deviations, positive.
        error: truth minus prediction.
        unit: of both.
        bins: fewer if there are fewer than ten points for each.
    """
    figure = new_figure(ONE_COLUMN, 3.1)
    axes = figure.subplots()
    # Errors of zero have no logarithm; they stand at the lower end.
    size = np.maximum(np.abs(error), max(float(np.quantile(np.abs(error), 0.002)), 1e-12))
    _points(axes, std, size, _DENSE, xscale="log", yscale="log")
    count = max(1, min(bins, len(std) // _FEWEST))
    parts = np.array_split(np.argsort(std, kind="stable"), count)
    rms = [(np.sqrt(np.mean(std[part] ** 2)), np.sqrt(np.mean(error[part] ** 2))) for part in parts]
    ends = np.array([std.min(), std.max()])
    axes.plot(ends, ends, color=GREY, lw=1.2, ls="--", label="RMSE = σ")
    axes.plot(*np.array(rms).T, color=COLOURS[1], lw=1.4, marker="o", ms=3.5, label="RMSE of a bin")
    axes.set(xscale="log", yscale="log", xlabel=f"σ ({unit})", ylabel=f"|error| ({unit})")
    plain_numbers(axes.xaxis)
    legend(axes, loc="lower right")
    return finish(figure)


def _points(axes: Any, x: Values, y: Values, many: int, **scales: Any) -> None:
    """Draw points, as a density where there are more than `many`."""
    if len(x) > many:
        art = axes.hexbin(x, y, gridsize=32, mincnt=1, bins="log", cmap="viridis", lw=0.1, **scales)
        axes.figure.colorbar(art, ax=axes, label="points", pad=0.02)
    else:
        axes.plot(x, y, "o", ms=3, mew=0.5, mfc="none", color=COLOURS[0])
