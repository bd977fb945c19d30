"""Noise, and factors on spreads, that settings give, that a fit finds, and that a table tells of."""

from dataclasses import replace

from gpjaxpot.errors import InputError
from gpjaxpot.gp.noise import INDEPENDENT, OBSERVABLES, Noise, as_groups
from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.levels import VARIANCE, Levels
from gpjaxpot.potential.settings import ModelSettings, NoiseSettings, Settings
from gpjaxpot.potential.spreads import Factors
from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.reference import EnergyReference


def initial_noise(settings: NoiseSettings) -> Noise:
    """Noise of the settings; levels that are "auto" are None."""

    def level(value: str | float) -> float | None:
        return None if value == "auto" else float(value)

    groups = {g: n.model_dump(exclude_none=True) for g, n in settings.groups.items()}
    levels = {g: {n: v for n, v in of.items() if n in OBSERVABLES} for g, of in groups.items()}
    factors = {
        g: {n.removesuffix("_factor"): v for n, v in of.items() if n not in OBSERVABLES} for g, of in groups.items()
    }
    for value in (settings.energy, settings.forces, settings.stress):
        if value != "auto" and not float(value) > 0:
            raise InputError(f"a noise level must be positive, got {value}")
    return Noise(
        level(settings.energy),
        level(settings.forces),
        level(settings.stress),
        INDEPENDENT if settings.energy_exponent == "auto" else settings.energy_exponent,
        settings.isolated_energy,
        as_groups(levels),
        factors=as_groups(factors),
    )


def found_noise(noise: Noise, levels: Levels, settings: NoiseSettings) -> Noise:
    """Noise with the levels found; those that were asked for by name are reported as they are."""
    reported = []
    for name in OBSERVABLES:
        asked = getattr(settings, f"aleatoric_{name}")
        reported.append(levels.reported.get(name) if asked == "auto" or name not in levels.values else float(asked))
    energy, forces, stress = (levels.values.get(name) for name in OBSERVABLES)
    return replace(noise, energy=energy, forces=forces, stress=stress, reported=tuple(reported))


def found_spread(levels: Levels, settings: ModelSettings) -> Factors:
    """Factors on the process's own spreads of energies, forces, stresses: those asked for, or found."""

    def factor(name: str, asked: str | float) -> float:
        return levels.spread.get(name, 1.0) if asked == "auto" else float(asked)

    return factor("energy", settings.spread_energy), 1.0, factor("stress", settings.spread_stress)


def level_choices(
    settings: Settings, levels: Levels, free: tuple[str, ...], noise: Noise, reference: EnergyReference
) -> list[Choice]:
    """What to say of the levels that were `free`, of factors on spreads, and of the energy per species."""
    made = []
    if VARIANCE in free:
        made.append(Choice("kernel.variance", levels.values[VARIANCE], f"{levels.reason}; eV²"))
    units = {
        "energy": f"eV·N^{noise.energy_exponent:g}", "forces": "eV/Å", "stress": "eV/Å³"
    }  # fmt: skip
    for name, reported in zip(OBSERVABLES, noise.reported or (), strict=True):
        if name in free and name in levels.values:
            made.append(Choice(f"noise.{name}", levels.values[name], f"{levels.reason}; {units[name]}"))
        if reported is not None and reported != levels.values[name] and name in levels.reported:
            mixed = settings.hyper.method != "none"
            why = "noise that structures left out show"
            if mixed and not (name == "energy" and settings.train.objective == "left_out"):
                why = "root mean square over members"
            why += "; what predictions report"
            made.append(Choice(f"noise.aleatoric_{name}", reported, f"{why}; {units[name]}"))
    for name in ("energy", "stress"):
        if getattr(settings.model, f"spread_{name}") == "auto" and name in levels.spread:
            why = "factor on the process's own epistemic σ, as structures left out show; of forces it is 1"
            made.append(Choice(f"model.spread_{name}", levels.spread[name], why))
    values = {symbol(z): float(v) for z, v in zip(reference.numbers, reference.values, strict=True)}
    made.append(Choice("energy_per_species", values, f"{reference.origin}; {reference.note}".strip("; ")))
    return made
