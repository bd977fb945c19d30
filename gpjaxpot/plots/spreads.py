"""Predicted standard deviations of one observable against those of another."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from gpjaxpot.plots.style import ONE_COLUMN, finish, legend, line, new_figure, plain_numbers

if TYPE_CHECKING:
    import matplotlib.figure

Values = Float[np.ndarray, " structures"]


def energy_and_force_std(
    energy_std: Values, force_std: Values, groups: Sequence[str] | None = None
) -> "matplotlib.figure.Figure":
    """Plot the energy's σ (eV/atom) of each structure against its largest force σ (eV/Å), on logarithmic axes.

    `groups` names each structure's group, for colour and legend.
    """
    figure = new_figure(ONE_COLUMN, 3.1)
    axes = figure.subplots()
    names = list(dict.fromkeys(groups)) if groups is not None else [""]
    for k, name in enumerate(names):
        here = slice(None) if groups is None else np.asarray(groups) == name
        style = {"ms": 4, "mew": 0.8, "mfc": "none", "label": name}
        axes.plot(force_std[here], 1e3 * energy_std[here], **style, **line(k, marker=True) | {"ls": "none"})
    axes.set(xscale="log", yscale="log", xlabel="largest force σ (eV/Å)", ylabel="energy σ (meV/atom)")
    for axis in (axes.xaxis, axes.yaxis):
        plain_numbers(axis)
    if groups is not None:
        legend(axes, loc="best")
    return finish(figure)
