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
# n_max and l_max of the two usual bases.
FINER, FINE, COARSE = (10, 8), (8, 6), (6, 5)
# ζ of the kernel of dot products.
USUAL_POWER = 4.0
# Molecules have the finer basis where all their pairs of atoms times the length of its vectors are fewer.
FINE_MOLECULES = 4e8
# Of each continuous setting of a descriptor: the usual value, the bounds of its search, the width of the prior on its
# logarithm, its unit and why; for molecules, for other structures with hydrogen, and for all else.
MOLECULES = {
    "cutoff": (6.0, 3.0, 8.0, 0.3, "; Å", "molecules are small: all atoms, or nearly"),
    "sigma": (0.4, 0.15, 0.8, 0.5, "; Å", "predicted aspirin and malonaldehyde best"),
    "radial_scale": (2.0, 0.7, 6.0, 0.7, "; Å", "beyond the bonds, far neighbours count less"),
    "radial_exponent": (4.0, 2.0, 10.0, 0.5, "", "predicted aspirin and malonaldehyde best"),
}
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


def molecular(frames: Sequence[Frame]) -> bool:
    """Whether the structures are molecules: none is periodic, and there is hydrogen."""
    return HYDROGEN in training_species(frames) and not any(any(f.structure.pbc) for f in frames)


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
        soap = _descriptor(given, frames, species, i, choices, ranges)
        terms.append(Term(soap, kernel_function(settings.kernel)))
    if settings.kernel.type == "dot_power" and settings.kernel.zeta == "auto":
        choices.append(Choice("kernel.zeta", USUAL_POWER, "usual: four-body correlations and beyond"))
    return EnergyKernel(tuple(terms)), choices, ranges


def kernel_function(settings: KernelSettings) -> AbstractKernel:
    """Kernel on feature vectors that the settings name."""
    if settings.type == "dot_power":
        return DotPower(USUAL_POWER if settings.zeta == "auto" else settings.zeta)
    if settings.type == "squared_exponential":
        return SquaredExponential(settings.length_scale)
    return Matern52(settings.length_scale)


def _descriptor(
    given: DescriptorSettings,
    frames: Sequence[Frame],
    species: tuple[int, ...],
    place: int,
    choices: list[Choice],
    ranges: dict[str, Range],
) -> SOAP:
    molecules = molecular(frames)
    usual = MOLECULES if molecules else LIGHT if HYDROGEN in species else HEAVY
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
    finer = len(species) == 1
    if molecules:
        pairs = sum(len(f.structure) ** 2 for f in frames)
        finer = pairs * (FINE[1] + 1) * (FINE[0] * len(species)) ** 2 / 2 < FINE_MOLECULES
    for name, fine, coarse in zip(("n_max", "l_max"), FINE, COARSE, strict=True):
        asked = getattr(given, name)
        sizes[name] = (fine if finer else coarse) if asked == "auto" else asked
        if asked == "auto":
            why = "vectors are short enough" if finer else "vectors grow with the square of species times n_max"
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
