"""Errors against the amount of training data."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from gpjaxpot.plots.style import ONE_COLUMN, finish, legend, line, new_figure, plain_numbers

if TYPE_CHECKING:
    import matplotlib.figure


def learning_curve(
    sizes: Float[np.ndarray, " sizes"],
    errors: Mapping[str, Float[np.ndarray, "*repeats sizes"]],
    quantity: str,
    unit: str,
    x_label: str = "training structures",
) -> "matplotlib.figure.Figure":
    """Plot the error against the amount of training data, both on logarithmic axes.

    Args:
        sizes: amounts of training data.
        errors: errors of each named model, (sizes,) or (repeats, sizes); repeats are drawn as
            their mean, in a band from the smallest to the largest.  NaN where there is none: the line goes on to the
            next.
        quantity: what the error is, such as "force MAE".
        unit: unit of the errors.
        x_label: what `sizes` counts.
    """
    figure = new_figure(ONE_COLUMN, 2.9)
    axes = figure.subplots()
    for k, (name, values) in enumerate(errors.items()):
        runs = np.atleast_2d(values)
        style = line(k, marker=True)
        known = np.isfinite(runs).all(axis=0)
        own, runs = sizes[known], runs[:, known]
        axes.plot(own, runs.mean(axis=0), label=name, ms=4, **style)
        if len(runs) > 1:
            band = runs.min(axis=0), runs.max(axis=0)
            axes.fill_between(own, *band, color=style["color"], alpha=0.2, lw=0)
    axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=f"{quantity} ({unit})")
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.set_xticks([], minor=True)
    plain_numbers(axes.yaxis)
    legend(axes)
    return finish(figure)
