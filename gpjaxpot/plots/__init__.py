"""Figures of errors and of their predicted spread: arrays in, a Matplotlib figure out.

Series differ in colour and in marker or dash, so that they are told apart with any colour vision
and in black and white. Matplotlib (the extra `plot`) is imported when a figure is made, and no
global state of it is touched: keep a figure with `figure.savefig("name.pdf")`.
"""

from gpjaxpot.plots.calibration import error_against_std, reliability, z_histogram
from gpjaxpot.plots.coverage import coverage
from gpjaxpot.plots.errors import error_against_reference, error_hexbin
from gpjaxpot.plots.learning import learning_curve
from gpjaxpot.plots.parity import parity_energy, parity_forces, parity_stress
from gpjaxpot.plots.pit import pit_histogram
from gpjaxpot.plots.retrieval import retrieval
from gpjaxpot.plots.spreads import energy_and_force_std

__all__ = [
    "coverage",
    "energy_and_force_std",
    "error_against_reference",
    "error_against_std",
    "error_hexbin",
    "learning_curve",
    "parity_energy",
    "parity_forces",
    "parity_stress",
    "pit_histogram",
    "reliability",
    "retrieval",
    "z_histogram",
]
