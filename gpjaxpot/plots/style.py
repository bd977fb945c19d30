"""Colours, sizes and axes that all figures share."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import matplotlib.figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
"""Those of Okabe & Ito, told apart by readers with any common colour vision."""
MARKERS = ("o", "s", "^", "D", "v", "x")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
GREY = "#7F7F7F"
ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0
"""Width of a figure in inches, for one or two columns of a paper."""
MANY_POINTS = 2000
"""From here on points hide each other, and their density is drawn."""


def line(k: int, marker: bool = False) -> dict[str, Any]:
    """Return the look of the k-th series; a seventh has the first one's colour."""
    k = k % len(COLOURS)
    style = {"color": COLOURS[k], "ls": DASHES[k], "lw": 1.4}
    return style | ({"marker": MARKERS[k]} if marker else {})


def legend(axes: Any, **options: Any) -> None:
    """Add a legend that covers the data as little as it can."""
    style = {"framealpha": 0.8, "edgecolor": "none", "fontsize": 7.5, "handlelength": 2.2}
    for text in axes.legend(**style, **options).get_texts():
        text.set_parse_math(False)  # a name of the data's may have dollars


def plain_numbers(axis: Any) -> None:
    """Label a logarithmic axis of few decades 0.02, 0.05 instead of 2 × 10⁻²."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of this size in inches, outside of Matplotlib's global list."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=200, layout="constrained")


def finish(figure: Any) -> "matplotlib.figure.Figure":
    """Give all axes the type sizes of a paper."""
    for axes in figure.axes:
        axes.tick_params(labelsize=8, width=0.7, which="both")
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_size(9)
        for spine in axes.spines.values():
            spine.set_linewidth(0.7)
    return figure
