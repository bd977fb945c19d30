"""How many truths lie in the intervals that were promised to hold them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gpjaxpot.plots.style import GREY, ONE_COLUMN, finish, legend, line, new_figure

if TYPE_CHECKING:
    import matplotlib.figure


def coverage(measured: Mapping[str, Mapping[float, float]]) -> "matplotlib.figure.Figure":
    """Plot the share of truths inside intervals against the share promised, in percent.

    Points on the diagonal are right; below it intervals are too narrow, above it too wide.

    Args:
        measured: of each named set the share inside the interval of each level, both from 0 to 1. Levels
            may differ between sets, or be none.
    """
    figure = new_figure(ONE_COLUMN, 3.9)
    axes = figure.subplots()
    levels = sorted({level for shares in measured.values() for level in shares})
    lowest = min([100 * share for shares in measured.values() for share in shares.values()] + [50.0])
    ends = [max(min(lowest, 100 * min(levels, default=0.5)) - 6.0, 0.0), 102.0]
    axes.plot(ends, ends, color=GREY, lw=0.8, label="as promised")
    for k, (name, shares) in enumerate(measured.items()):
        x = sorted(shares)
        axes.plot([100 * p for p in x], [100 * shares[p] for p in x], label=name, ms=5, **line(k, marker=True))
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set_xticks([100 * p for p in levels], [f"{100 * p:g}" for p in levels])
    axes.set(xlabel="promised (%)", ylabel="inside the interval (%)")
    # Above: curves may lie anywhere.
    legend(axes, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return finish(figure)
