"""Noise levels that a person gave, beside the size of the labels and their number."""

from collections.abc import Iterator

import numpy as np

from gpjaxpot.gp.noise import INDEPENDENT
from gpjaxpot.potential.linted_data import LintedData, given
from gpjaxpot.potential.settings import Settings
from gpjaxpot.structures.finding import Finding
from gpjaxpot.units import EV_TO_MEV

# Errors reached on public sets are 1 to 3 % of the spread of the energies and of the forces; a σ that is
# a fifth of that is followed only by bending through noise. With fewer structures less is reached.
_ENERGY_SHARE, _AT = 0.002, 100
_LABEL_SHARE = 0.005


def lint_noise(settings: Settings, data: LintedData) -> Iterator[Finding]:
    """Yield a warning for each σ that is too small for the data, or so large that nothing is learned."""
    yield from _of_energy_noise(settings, data)
    yield from _of_force_and_stress_noise(settings, data)


def _of_energy_noise(settings: Settings, data: LintedData) -> Iterator[Finding]:
    noise = settings.noise
    rest, sizes = data.energies
    if not given(noise, "energy") or len(rest) < 2:
        return
    atoms = float(np.median(sizes))
    exponent = INDEPENDENT if noise.energy_exponent == "auto" else noise.energy_exponent
    sigma = float(noise.energy) * atoms ** (exponent - 1.0)
    spread = float(np.std(rest))
    least = _ENERGY_SHARE * spread * np.sqrt(_AT / len(rest))
    told = (
        f"energy σ of {EV_TO_MEV * sigma:.2g} meV/atom (noise.energy = {noise.energy:g} eV, {atoms:g} atoms) is "
    )
    have = f"{len(rest)} structures, whose energies spread over {EV_TO_MEV * spread:.3g} meV/atom"
    scale = atoms ** (1.0 - exponent)
    if sigma < least:
        yield Finding(
            "warning",
            "energy-sigma-low",
            f"{told}below what {have}, support",
            (),
            f"take {EV_TO_MEV * least:.2g} meV/atom or more, noise.energy = {least * scale:.2g}, or give more data",
        )
    elif sigma > spread > 0:
        yield Finding(
            "warning",
            "energy-sigma-high",
            f"{told}more than the spread of {have}: the energies will hardly be learned",
            (),
            f"take less than a tenth of the spread, noise.energy = {0.1 * spread * scale:.2g}, or leave it out",
        )


def _of_force_and_stress_noise(settings: Settings, data: LintedData) -> Iterator[Finding]:
    for name, unit in (("forces", "eV/Å"), ("stress", "eV/Å³")):
        values = [np.asarray(getattr(f.labels, name)).reshape(-1) for f in data.having(name)]
        if not given(settings.noise, name) or not values:
            continue
        sigma = float(getattr(settings.noise, name))
        size = float(np.sqrt(np.mean(np.concatenate(values) ** 2)))
        if size == 0 or _LABEL_SHARE * size <= sigma <= size:
            continue
        low = sigma < size
        yield Finding(
            "warning",
            f"{name}-sigma-{'low' if low else 'high'}",
            f"noise.{name} of {sigma:g} {unit} is {sigma / size:.2g} times the size of the {name} "
            f"({size:.3g} {unit}): "
            + ("no model follows them so closely" if low else "they will hardly be learned"),
            (),
            f"take {0.02 * size:.1g} to {0.1 * size:.1g} {unit}, or leave it out to have it learned",
        )
