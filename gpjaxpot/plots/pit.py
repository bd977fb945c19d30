"""Where truths lie in their predicted distributions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from gpjaxpot.plots.style import GREY, ONE_COLUMN, finish, legend, line, new_figure

if TYPE_CHECKING:
    import matplotlib.figure


def pit_histogram(pit_values: Mapping[str, Float[np.ndarray, " points"]], bins: int = 20) -> "matplotlib.figure.Figure":
    """Plot the density of the probability integral transforms, which is 1 everywhere if calibrated.

    Each set's band holds 95 % of the bins of as many independent points. High ends are σ that are too small, a hump
    in the middle σ that are too large, a slope a bias.

    Args:
        pit_values: in [0, 1], of each named set.
        bins: of equal width; fewer for a set with fewer than five points for each.
    """
    figure = new_figure(ONE_COLUMN, 2.8)
    axes = figure.subplots()
    axes.axhline(1.0, color=GREY, lw=0.8)
    highest = 1.0
    for k, (name, values) in enumerate(pit_values.items()):
        own = int(np.clip(len(values) // 5, 4, bins))
        count, edges = np.histogram(values, np.linspace(0.0, 1.0, own + 1))
        density = count * own / len(values)
        band = 1.96 * np.sqrt((own - 1) / len(values))  # of a count n/own, in units of its mean
        look = line(k)
        axes.fill_between([0, 1], max(1 - band, 0.0), 1 + band, color=look["color"], alpha=0.15, lw=0)
        axes.stairs(density, edges, label=f"{name}, on its 95 % band", **look)
        highest = max(highest, 1 + band, density.max())
    # Room above for the legend.
    axes.set(xlim=(0, 1), ylim=(0, highest * (1.15 + 0.12 * len(pit_values))))
    axes.set(xlabel="PIT: predicted probability of a smaller value", ylabel="density")
    legend(axes, loc="upper center")
    return finish(figure)
