"""How the noise of labels depends on the structure that they belong to: learned from structures left out.

Two things are asked.  Whether the errors of energies grow with the root of the number of atoms, as independent errors
of the atoms do, or in proportion to it, as shared ones do (another cell, other k-points).  And whether labels of some
groups (config_type) should weigh less than others: those of a hot liquid, say, beside those of strained crystals.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from gpjaxpot.gp.left_out import PADDING, LeftOut, calibrate, error_fall, error_fall_spread, predicted_variance
from gpjaxpot.gp.noise import INDEPENDENT, OBSERVABLES, SHARED, Noise, as_groups
from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.held_out import Judged
from gpjaxpot.potential.settings import QUICK, NoiseSettings
from gpjaxpot.structures.labels import Frame

ENERGY = OBSERVABLES.index("energy")
Judge = Callable[[Noise, Judged | None], Judged]
# Sizes of structures must differ by this factor for an exponent to be seen, so many be left out, and the log density
# of their energies must grow by so much for the shared one to be taken.
LEAST_RATIO = 1.5
LEAST_LEFT_OUT = 10
LEAST_EVIDENCE = 2.0
# A group's factor is learned from so many structures of it that are left out; the width of the prior on its
# logarithm, which few structures hardly move; and the bounds.
LEAST_OF_GROUP = 6
PRIOR = 0.7
BOUNDS = (0.2, 5.0)
# Factors are taken if errors of structures left out fall by this share and so many standard errors, and tried if one
# differs from 1 by so much.
WORTH = 0.01
SURE = 1.5
NOTICED = 1.2


def shape_noise(
    frames: Sequence[Frame],
    noise: Noise,
    settings: NoiseSettings,
    free: Collection[str],
    time: float,
    judge: Judge,
) -> tuple[Noise, list[Choice]]:
    """Choose the exponent of energies and the factors of groups, where they are to be learned.

    Args:
        frames: all training structures.
        noise: with the independent exponent, if it is to be learned.
        settings: what of the noise is given.
        free: observables of which labels have a level that is learned; nothing is asked of others.
        time: seconds that the fit may take; of a quick one nothing is asked.
        judge: fits a model with some noise and leaves structures out; from the levels of another one, if that is given.

    Returns:
        The noise, and a choice for each question that was asked.
    """
    names = {frame.group for frame in frames if not frame.isolated} - {None}
    auto = settings.energy_exponent == "auto"
    slow = time >= QUICK
    ask_exponent = slow and auto and "energy" in free and _sizes_differ(frames)
    ask_groups = slow and settings.by_group and not settings.groups and len(names) > 1 and bool(free)
    base = judge(noise, None) if ask_exponent or ask_groups else None
    choices: list[Choice] = []
    if ask_exponent and base is not None and len(base.places) >= LEAST_LEFT_OUT:
        noise, base, choice = _exponent(frames, noise, base, judge)
        choices.append(choice)
    elif auto:
        why = "usual: the data do not tell" if slow else "usual: there is no time to ask"
        choices.append(Choice("noise.energy_exponent", noise.energy_exponent, why))
    if ask_groups and base is not None and len(base.places) >= LEAST_LEFT_OUT:
        noise, choice = _by_group(frames, noise, base, [n for n in OBSERVABLES if n in free], judge)
        choices.append(choice)
    return noise, choices


def _sizes_differ(frames: Sequence[Frame]) -> bool:
    sizes = [len(f.structure) for f in frames if not f.isolated and f.labels.energy is not None]
    return bool(sizes) and max(sizes) >= LEAST_RATIO * min(sizes)


def _exponent(
    frames: Sequence[Frame], noise: Noise, base: Judged, judge: Judge
) -> tuple[Noise, Judged, Choice]:
    """The exponent under which energies left out are more probable; the shared one must not make them worse."""
    sizes = np.array([len(frames[i].structure) for i in base.places], float)
    # Energies of which no σ is known; a structure may have none.
    told_of = np.any(np.asarray(base.left.kind) == ENERGY, axis=1)
    if not _sizes_differ([frames[i] for i, own in zip(base.places, told_of, strict=True) if own]):
        return noise, base, Choice("noise.energy_exponent", INDEPENDENT, "usual: structures left out are of one size")
    densities = {p: _energy_density(base.left, sizes**p) for p in (INDEPENDENT, SHARED)}
    gain = densities[SHARED] - densities[INDEPENDENT]
    told = f"log density of {np.sum(told_of)} energies left out, 1 less 0.5: {gain:.1f}"
    if gain < LEAST_EVIDENCE:
        return noise, base, Choice("noise.energy_exponent", INDEPENDENT, told)
    shared = replace(noise, energy_exponent=SHARED)
    tried = judge(shared, None)
    worse = error_fall(tried.left, base.left, len(OBSERVABLES))
    if worse < -WORTH:
        why = f"{told}, but with 1 errors left out grow by {100 * np.expm1(-worse):.1f} %"
        return noise, base, Choice("noise.energy_exponent", INDEPENDENT, why)
    return shared, tried, Choice("noise.energy_exponent", SHARED, told)


def _energy_density(left: LeftOut, unit: np.ndarray) -> float:
    """Log density of the energies left out, noise being a level times `unit`, at its best level."""
    own = np.asarray(left.kind) == ENERGY
    energies = replace(left, kind=np.where(own, ENERGY, PADDING), unit=np.where(own, unit[:, None], 1.0))
    variance = predicted_variance(energies, *calibrate(energies))[own]
    return float(-0.5 * np.sum(np.log(variance) + np.asarray(left.error)[own] ** 2 / variance))


def _by_group(
    frames: Sequence[Frame], noise: Noise, base: Judged, free: Sequence[str], judge: Judge
) -> tuple[Noise, Choice]:
    factors = _factors([frames[i].group for i in base.places], base.left, free)
    largest = max((max(f, 1.0 / f) for of in factors.values() for f in of.values()), default=1.0)
    if largest < NOTICED:
        why = f"groups err alike, or too few of each are left out ({largest:.2f})"
        return noise, Choice("noise.by_group", False, why)
    tried = replace(noise, factors=as_groups(factors))
    left = judge(tried, base).left
    gain = error_fall(left, base.left, len(OBSERVABLES))
    spread = error_fall_spread(left, base.left, len(OBSERVABLES))
    change = f"errors of structures left out {'fall' if gain > 0 else 'grow'} by {100 * abs(np.expm1(-gain)):.1f} %"
    if gain < max(WORTH, SURE * spread):
        change += f" ± {100 * spread:.1f} %"
        return noise, Choice("noise.by_group", False, f"{change} with factors up to {largest:.1f}")
    rounded = {g: {f"{name}_factor": f for name, f in of.items()} for g, of in factors.items()}
    return tried, Choice("noise.groups", rounded, change)


def _factors(groups: Sequence[str | None], left: LeftOut, free: Sequence[str]) -> dict[str, dict[str, float]]:
    """For each group with structures enough, its errors in units of what was predicted, over those of all."""
    found: dict[str, dict[str, float]] = {}
    variance = predicted_variance(left, *calibrate(left))
    kind, error = np.asarray(left.kind), np.asarray(left.error)
    for name in free:
        own = (kind == OBSERVABLES.index(name)) & (variance > 0)
        if not own.any():
            continue
        square = np.where(own, error**2 / np.where(own, variance, 1.0), 0.0)
        everywhere = np.sum(square) / np.sum(own)
        for group in sorted({g for g in groups if g is not None}):
            mine = own & np.array([g == group for g in groups])[:, None]
            count = int(np.sum(np.any(mine, axis=1)))
            if count < LEAST_OF_GROUP or not everywhere > 0:
                continue
            ratio = 0.5 * np.log(max(np.sum(square[mine]) / np.sum(mine), 1e-12) / everywhere)
            # The prior against as many structures, each of which tells its noise to about 1/√2.
            shrunk = ratio * PRIOR**2 / (PRIOR**2 + 0.5 / count)
            found.setdefault(group, {})[name] = float(np.clip(np.exp(shrunk), *BOUNDS))
    return found
