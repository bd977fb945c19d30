"""What a fit chooses by itself, each choice with its reason."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.kernels import (
    AbstractKernel,
    DotPower,
    EnergyKernel,
    Matern52,
    SquaredExponential,
    Term,
)
from gpjaxpot.potential.settings import DescriptorSettings, KernelSettings, Settings
from gpjaxpot.structures.labels import Frame

HYDROGEN = 1


@dataclass(frozen=True)
class Choice:
    """A setting, its value and why it has it."""

    key: str
    value: Any
    reason: str

    def plain(self) -> dict[str, Any]:
        """Return the choice as plain JSON."""
        return asdict(self)


def training_species(frames: Sequence[Frame]) -> tuple[int, ...]:
    """Atomic numbers that occur, ascending."""
    return tuple(sorted({int(z) for f in frames for z in np.unique(f.structure.numbers)}))


def choose_kernel(
    frames: Sequence[Frame], settings: Settings
) -> tuple[EnergyKernel, list[Choice]]:
    """Make the energy kernel from the settings, filling in what is "auto"."""
    species = training_species(frames)
    choices: list[Choice] = []
    terms = []
    for i, given in enumerate(settings.descriptor):
        soap = _descriptor(given, species, f"descriptor.{i}", choices)
        terms.append(Term(soap, kernel_function(settings.kernel)))
    return EnergyKernel(tuple(terms)), choices


def kernel_function(settings: KernelSettings) -> AbstractKernel:
    """Kernel on feature vectors that the settings name."""
    if settings.type == "dot_power":
        return DotPower(settings.zeta)
    if settings.type == "squared_exponential":
        return SquaredExponential(settings.length_scale)
    return Matern52(settings.length_scale)


def _descriptor(
    given: DescriptorSettings, species: tuple[int, ...], key: str, choices: list[Choice]
) -> SOAP:
    light = HYDROGEN in species
    cutoff, sigma = given.cutoff, given.sigma
    if cutoff == "auto":
        cutoff = 4.5 if light else 5.0
        why = "two shells of bonds in molecules" if light else "two to three shells of a solid"
        choices.append(Choice(f"{key}.cutoff", cutoff, f"{why}; Å"))
    if sigma == "auto":
        sigma = 0.3 if light else 0.4
        why = "short bonds to hydrogen need a sharp density" if light else "no hydrogen: smooth density"
        choices.append(Choice(f"{key}.sigma", sigma, f"{why}; Å"))
    return SOAP(
        float(cutoff),
        given.n_max,
        given.l_max,
        float(sigma),
        species=species,
        cutoff_width=min(given.cutoff_width, float(cutoff)),
        radial_scale=given.radial_scale,
        radial_exponent=given.radial_exponent,
    )
