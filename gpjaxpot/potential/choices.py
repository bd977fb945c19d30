"""What a fit chooses by itself, each choice with its reason."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.gp.maximise import Range
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
# Of each continuous setting of a descriptor: the usual value, the bounds of its search, the width of the prior on its
# logarithm, its unit and why; with hydrogen among the species, and without.
LIGHT = {
    "cutoff": (4.5, 2.5, 6.0, 0.3, "; Å", "two shells of bonds in molecules"),
    "sigma": (0.35, 0.15, 0.8, 0.5, "; Å", "short bonds to hydrogen need a sharp density"),
    "radial_scale": (2.0, 0.7, 6.0, 0.7, "; Å", "beyond the bonds, far neighbours count less"),
    "radial_exponent": (4.0, 2.0, 10.0, 0.5, "", "usual decay"),
}
HEAVY = {
    "cutoff": (5.0, 3.0, 6.5, 0.3, "; Å", "two to three shells of a solid"),
    "sigma": (0.45, 0.2, 1.0, 0.5, "; Å", "no hydrogen: smooth density"),
    "radial_scale": (3.0, 0.8, 8.0, 0.7, "; Å", "beyond the first shell, far neighbours count less"),
    "radial_exponent": (4.0, 2.0, 10.0, 0.5, "", "usual decay"),
}


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
) -> tuple[EnergyKernel, list[Choice], dict[str, Range]]:
    """Make the energy kernel from the settings, filling in what is "auto" by what is usual.

    Returns also the choices made, and between which bounds those of them that are continuous may be learned, by the
    names of `search.with_values`.
    """
    species = training_species(frames)
    choices: list[Choice] = []
    ranges: dict[str, Range] = {}
    terms = []
    for i, given in enumerate(settings.descriptor):
        soap = _descriptor(given, species, i, choices, ranges)
        terms.append(Term(soap, kernel_function(settings.kernel)))
    return EnergyKernel(tuple(terms)), choices, ranges


def kernel_function(settings: KernelSettings) -> AbstractKernel:
    """Kernel on feature vectors that the settings name."""
    if settings.type == "dot_power":
        return DotPower(settings.zeta)
    if settings.type == "squared_exponential":
        return SquaredExponential(settings.length_scale)
    return Matern52(settings.length_scale)


def _descriptor(
    given: DescriptorSettings,
    species: tuple[int, ...],
    place: int,
    choices: list[Choice],
    ranges: dict[str, Range],
) -> SOAP:
    usual = LIGHT if HYDROGEN in species else HEAVY
    values: dict[str, float] = {}
    for name, (value, low, high, prior, unit, why) in usual.items():
        asked = getattr(given, name)
        if asked == "auto":
            ranges[f"{place}.{name}"] = Range(value, low, high, prior)
            choices.append(Choice(f"descriptor.{place}.{name}", value, f"{why}{unit}"))
            asked = value
        values[name] = asked
    if given.radial_scale == "none":
        # Without the weight its exponent means nothing.
        ranges.pop(f"{place}.radial_exponent", None)
    sizes = {}
    for name, few, many in (("n_max", 8, 6), ("l_max", 6, 5)):
        asked = getattr(given, name)
        sizes[name] = (few if len(species) == 1 else many) if asked == "auto" else asked
        if asked == "auto":
            why = "one species" if len(species) == 1 else "vectors grow with the square of species times n_max"
            choices.append(Choice(f"descriptor.{place}.{name}", sizes[name], why))
    return SOAP(
        values["cutoff"],
        sizes["n_max"],
        sizes["l_max"],
        values["sigma"],
        species=species,
        cutoff_width=min(given.cutoff_width, values["cutoff"]),
        radial_scale=None if given.radial_scale == "none" else values["radial_scale"],
        radial_exponent=values["radial_exponent"],
    )
