"""Gaussian-process interatomic potentials with uncertainties that can be trusted.

Read structures, fit, predict with standard deviations, run dynamics in ASE::

    import jax
    jax.config.update("jax_enable_x64", True)
    import gpjaxpot as gp

    potential = gp.fit(gp.read("train.xyz"), gp.SOAP(cutoff=5.0, n_max=8, l_max=6, sigma=0.5), gp.DotPower(4))
    prediction = potential.predict(atoms, uncertainty=True)
    atoms.calc = gp.Calculator(potential)

Importing sets no switch of JAX and loads neither ASE nor matplotlib: names are found when asked for.
"""

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpjaxpot.applications.calculator import Calculator
    from gpjaxpot.applications.evaluate import evaluate
    from gpjaxpot.descriptors.soap import SOAP
    from gpjaxpot.errors import InputError
    from gpjaxpot.kernels.abstract import AbstractKernel, Product, Scaled, Sum
    from gpjaxpot.kernels.dot_power import DotPower
    from gpjaxpot.kernels.energy_kernel import EnergyKernel, Term
    from gpjaxpot.kernels.function import FunctionKernel
    from gpjaxpot.kernels.stationary import Matern52, SquaredExponential
    from gpjaxpot.potential.calibrate import calibrate
    from gpjaxpot.potential.crew import all_devices
    from gpjaxpot.potential.fit import fit
    from gpjaxpot.potential.potential import Potential
    from gpjaxpot.potential.prediction import Prediction
    from gpjaxpot.potential.settings import Settings, load_settings
    from gpjaxpot.potential.vectors import environment_vectors
    from gpjaxpot.structures.check import check
    from gpjaxpot.structures.io import read, write_predictions
    from gpjaxpot.structures.labels import Frame, Labels
    from gpjaxpot.structures.structure import Structure

__version__ = _version("gpjaxpot")

_HOMES = {
    "AbstractKernel": "kernels.abstract",
    "Calculator": "applications.calculator",
    "DotPower": "kernels.dot_power",
    "EnergyKernel": "kernels.energy_kernel",
    "Frame": "structures.labels",
    "FunctionKernel": "kernels.function",
    "InputError": "errors",
    "Labels": "structures.labels",
    "Matern52": "kernels.stationary",
    "Potential": "potential.potential",
    "Prediction": "potential.prediction",
    "Product": "kernels.abstract",
    "SOAP": "descriptors.soap",
    "Scaled": "kernels.abstract",
    "Settings": "potential.settings",
    "SquaredExponential": "kernels.stationary",
    "Structure": "structures.structure",
    "Sum": "kernels.abstract",
    "Term": "kernels.energy_kernel",
    "all_devices": "potential.crew",
    "calibrate": "potential.calibrate",
    "check": "structures.check",
    "environment_vectors": "potential.vectors",
    "evaluate": "applications.evaluate",
    "fit": "potential.fit",
    "load_settings": "potential.settings",
    "read": "structures.io",
    "write_predictions": "structures.io",
}

__all__ = [
    "AbstractKernel",
    "Calculator",
    "DotPower",
    "EnergyKernel",
    "Frame",
    "FunctionKernel",
    "InputError",
    "Labels",
    "Matern52",
    "Potential",
    "Prediction",
    "Product",
    "SOAP",
    "Scaled",
    "Settings",
    "SquaredExponential",
    "Structure",
    "Sum",
    "Term",
    "all_devices",
    "calibrate",
    "check",
    "environment_vectors",
    "evaluate",
    "fit",
    "load_settings",
    "read",
    "write_predictions",
]


def __getattr__(name: str) -> Any:
    """Find a public name in its module, at its first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'gpjaxpot' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gpjaxpot.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *__all__})
