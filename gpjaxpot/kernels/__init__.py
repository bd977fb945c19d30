"""Similarity of two environments, and of two structures."""

from gpjaxpot.kernels.abstract import AbstractKernel, Product, Scaled, Sum
from gpjaxpot.kernels.dot_power import DotPower
from gpjaxpot.kernels.energy_kernel import EnergyKernel, Term
from gpjaxpot.kernels.function import FunctionKernel
from gpjaxpot.kernels.stationary import Matern52, SquaredExponential

__all__ = [
    "AbstractKernel",
    "DotPower",
    "EnergyKernel",
    "FunctionKernel",
    "Matern52",
    "Product",
    "Scaled",
    "SquaredExponential",
    "Sum",
    "Term",
]
