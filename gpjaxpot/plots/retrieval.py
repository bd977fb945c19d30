"""How soon uncertainties find the largest errors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from gpjaxpot.plots.style import GREY, ONE_COLUMN, finish, legend, line, new_figure

if TYPE_CHECKING:
    import matplotlib.figure

Curve = tuple[Float[np.ndarray, " looked"], Float[np.ndarray, " looked"]]


def retrieval(
    curves: Mapping[str, Curve], share: float = 0.05, points: str = "atoms"
) -> "matplotlib.figure.Figure":
    """Plot the share of large errors found against the share of points looked at, most uncertain first, in percent.

    Args:
        curves: of each named uncertainty both shares, from 0 to 1.
        share: of the points that count as large errors; a perfect order finds them all there.
        points: what they are.
    """
    figure = new_figure(ONE_COLUMN, 3.1)
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=GREY, lw=0.8, label="chance")
    axes.plot([0, 100 * share, 100], [0, 100, 100], color=GREY, lw=1.0, ls=":", label="perfect order")
    for k, (name, (looked, found)) in enumerate(curves.items()):
        axes.plot(100 * looked, 100 * found, label=name, **line(k))
    axes.set(xlim=(0, 100), ylim=(0, 102), xlabel=f"{points} looked at (%)")
    axes.set_ylabel(f"of the {100 * share:g} % largest errors found (%)")
    legend(axes, loc="lower right")
    return finish(figure)
