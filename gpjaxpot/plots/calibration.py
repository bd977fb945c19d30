"""Errors against the standard deviations that were predicted for them."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from gpjaxpot.plots.style import (
    COLOURS,
    GREY,
    MANY_POINTS,
    ONE_COLUMN,
    TWO_COLUMNS,
    finish,
    legend,
    line,
    new_figure,
    plain_numbers,
)

if TYPE_CHECKING:
    import matplotlib.figure

Values = Float[np.ndarray, " points"]


def error_against_std(
    std: Values, error: Values, unit: str, bins: int = 15
) -> "matplotlib.figure.Figure":
    """Plot |error| against σ, point by point and in bins of equal count along σ.

    Left: points or their density on logarithmic axes, with the lines below which a calibrated
    Gaussian has 50 % and 95 % of them. Right: root mean square error of each bin against its
    root mean variance, ± 2 standard errors (s.e.); a calibrated model lies on the diagonal.

    Args:
        std: predicted standard deviations, positive.
        error: truth minus prediction.
        unit: unit of both, for the axes.
        bins: number of bins; fewer if there are fewer than ten points for each.
    """
    figure = new_figure(TWO_COLUMNS, 3.1)
    left, right = figure.subplots(1, 2)
    _error_density(left, std, np.abs(error), unit)
    _error_bins(right, std, error, unit, max(1, min(bins, len(std) // 10)))
    return finish(figure)


def reliability(pit_values: Mapping[str, Values]) -> "matplotlib.figure.Figure":
    """Plot the share of truths below each predicted quantile against its probability.

    Calibrated predictions follow the diagonal; at each probability the grey band holds 95 % of
    calibrated curves of as many independent points as the smallest set has. A curve that is
    steep at both ends has too small σ, one that is flat there too large σ.

    `pit_values` are the probability integral transforms, in (0, 1), of each named set.
    """
    figure = new_figure(ONE_COLUMN, 3.3)
    axes = figure.subplots()
    p = np.linspace(0, 1, 201)
    band = 1.96 * np.sqrt(p * (1 - p) / min(len(values) for values in pit_values.values()))
    axes.fill_between(p, p - band, p + band, color=GREY, alpha=0.25, lw=0, label="95 % band")
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    for k, (name, values) in enumerate(pit_values.items()):
        edges = np.concatenate([[0.0], np.sort(values), [1.0]])
        share = np.concatenate([np.arange(len(values) + 1) / len(values), [1.0]])
        axes.step(edges, share, where="post", label=name, **line(k))
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set(xlabel="predicted probability", ylabel="observed share below quantile")
    legend(axes, loc="upper left")
    return finish(figure)


def z_histogram(z: Mapping[str, Values], limit: float = 5.0) -> "matplotlib.figure.Figure":
    """Plot the density of error/σ against the standard normal it should follow.

    The scale is logarithmic, so that tails can be judged. Points beyond `limit` are counted in
    the legend and drawn in the outermost bins. `z` has the standardised errors of each named set.
    """
    figure = new_figure(ONE_COLUMN, 3.1)
    axes = figure.subplots()
    x = np.linspace(-limit, limit, 201)
    axes.plot(x, np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi), color=GREY, label="N(0, 1)")
    edges = np.linspace(-limit, limit, int(4 * limit) + 1)
    for k, (name, values) in enumerate(z.items()):
        count, _ = np.histogram(np.clip(values, -limit, limit), edges)
        beyond = int(np.sum(np.abs(values) > limit))
        label = f"{name}: ⟨z²⟩ = {np.mean(values**2):.2f}, {beyond} beyond ±{limit:g}"
        axes.stairs(count / (len(values) * np.diff(edges)), edges, label=label, **line(k))
    least = min(0.5 / len(values) for values in z.values())
    # Room above for the legend, which is as wide as the figure.
    axes.set(xlim=(-limit, limit), yscale="log", ylim=(least, 10.0 ** (0.5 + 0.5 * len(z))))
    axes.set(xlabel="error / σ", ylabel="density")
    legend(axes, loc="upper center")
    return finish(figure)


def _error_density(axes: Any, std: Values, size: Values, unit: str) -> None:
    # Errors of zero have no logarithm; they stand at the lower end.
    size = np.maximum(size, max(float(np.quantile(size, 0.002)), 1e-12))
    if len(std) > MANY_POINTS:
        scales = {"xscale": "log", "yscale": "log", "bins": "log"}
        art = axes.hexbin(std, size, gridsize=40, mincnt=1, cmap="viridis", lw=0.1, **scales)
        axes.figure.colorbar(art, ax=axes, label="points", pad=0.02)
    else:
        axes.plot(std, size, "o", ms=3, mew=0.5, mfc="none", color=COLOURS[0])
    ends = np.array([std.min(), std.max()])
    for level, factor, dash in (("50 %", 0.6745, "--"), ("95 %", 1.96, "-")):
        axes.plot(ends, factor * ends, color=COLOURS[1], lw=1.3, ls=dash, label=f"{level} below")
    axes.set(xscale="log", yscale="log", xlabel=f"σ ({unit})", ylabel=f"|error| ({unit})")
    plain_numbers(axes.xaxis)
    legend(axes, loc="lower right")


def _error_bins(axes: Any, std: Values, error: Values, unit: str, bins: int) -> None:
    parts = np.array_split(np.argsort(std, kind="stable"), bins)
    rmv = np.array([np.sqrt(np.mean(std[part] ** 2)) for part in parts])
    rmse = np.array([np.sqrt(np.mean(error[part] ** 2)) for part in parts])
    # Relative standard error 1/√(2n) of a root mean square of n Gaussian errors.
    spread = 2 * rmse / np.sqrt([2 * len(part) for part in parts])
    style = {"fmt": "o", "ms": 4, "capsize": 2, "lw": 1, "color": COLOURS[0]}
    axes.errorbar(rmv, rmse, yerr=spread, label="bins, ± 2 s.e.", **style)
    ends = [0.9 * min(rmv.min(), rmse.min()), 1.1 * max(rmv.max(), rmse.max())]
    axes.plot(ends, ends, color=GREY, lw=0.8, label="calibrated")
    axes.set(xscale="log", yscale="log", aspect="equal")
    axes.set(xlabel=f"root mean variance ({unit})", ylabel=f"RMSE ({unit})")
    for axis in (axes.xaxis, axes.yaxis):
        plain_numbers(axis)
    legend(axes, loc="lower right" if np.mean(rmse > rmv) > 0.5 else "upper left")
