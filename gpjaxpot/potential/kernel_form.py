"""What structures left out say of a kernel: of values learned for its descriptors, of its power ζ and its bases' size.

One thing is tried after the other, on a part of the data and with few inducing environments.  Learned values, which the
evidence of a small sample chose, are held against the usual ones; other forms have the hyperparameters that were taken
for the usual form.
"""

from collections.abc import Callable, Sequence

import numpy as np

from gpjaxpot.gp.left_out import LeftOut, error_fall, error_fall_spread
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.kernels import DotPower, EnergyKernel, Term
from gpjaxpot.potential.choices import COARSE, FINE, FINER, USUAL_POWER, Choice
from gpjaxpot.potential.learned_kernel import Searched
from gpjaxpot.potential.settings import Settings

Judge = Callable[[EnergyKernel], LeftOut]
# Atoms of the part of the data, about, and structures of it at the least.
ATOMS = 2000
STRUCTURES = 20
POWERS = (3.0, 6.0)
# Another form, or the usual values instead of learned ones, must lower the errors of structures left out by this share,
# less is what another draw of inducing environments does, and by so many standard errors.
WORTH = 0.02
SURE = 2.0
# Longer vectors of the finer basis are not tried: all work grows with them.
LONGEST = 1500
# Seconds that powers and bases take, about; nothing is asked of them where a fit may take less than so many times as
# long.  And seconds that the usual values take.
SECONDS = 120.0
SHARE = 5.0
SECONDS_OF_USUAL = 60.0


def keep_learned(
    kernel: EnergyKernel, choices: Sequence[Choice], searched: Searched, judge: Judge
) -> tuple[EnergyKernel, list[Choice], LeftOut]:
    """Keep what was learned, unless structures left out are surely predicted better with the usual values.

    The evidence is for it, and few structures often do not tell: errors of 50 of titania fell by 12 ± 7 % with it, and
    those of others by as much.

    Args:
        kernel: with the learned values.
        choices: with those of the learned values, whose reasons get what was found.
        searched: what they were searched from.
        judge: predicts structures left out, always the same, by a model with some kernel.

    Returns:
        The kernel, the choices, and what is predicted with the kernel.
    """
    learned, usual = judge(kernel), judge(searched.usual)
    rise = error_fall(usual, learned, len(OBSERVABLES))
    spread = error_fall_spread(usual, learned, len(OBSERVABLES))
    found = f"errors of {len(learned.kind)} structures left out {'rise' if rise > 0 else 'fall'} by"
    found = f"{found} {100 * abs(np.expm1(rise)):.1f} ± {100 * spread:.1f} %"
    made = {c.key: c for c in choices}
    if rise <= max(WORTH, SURE * spread):
        told = [_noted(made[c.key], f"{found} against usual values") for c in searched.choices]
        return kernel, list((made | {c.key: c for c in told}).values()), learned
    found = f"{found} with what {searched.atoms} atoms ask for"
    told = [_noted(c, f"{found}, {made[c.key].value:.3g} here") for c in searched.choices]
    return searched.usual, list((made | {c.key: c for c in told}).values()), usual


def choose_form(
    kernel: EnergyKernel,
    choices: Sequence[Choice],
    settings: Settings,
    judge: Judge,
    best: LeftOut | None = None,
) -> tuple[EnergyKernel, list[Choice]]:
    """Try other powers, then the next sizes of the bases, where the settings leave them open.

    Args:
        kernel: of the usual form.
        choices: with those of the usual form, which are replaced where another one is better.
        settings: say what is open.
        judge: predicts structures left out, always the same, by a model with some kernel.
        best: what it predicts with `kernel`, where that is known.

    Returns:
        The kernel, and the choices.
    """
    open_power, open_basis = open_questions(settings)
    if not (open_power or open_basis):
        return kernel, list(choices)
    made = {c.key: c for c in choices}
    best = judge(kernel) if best is None else best
    if open_power:
        tried = {f"{power:g}": with_power(kernel, power) for power in POWERS}
        kernel, best, name, told = _better(kernel, best, tried, judge)
        made["kernel.zeta"] = Choice("kernel.zeta", USUAL_POWER if name is None else float(name), told)
    if open_basis:
        first = kernel.terms[0].descriptor
        sizes = (COARSE, FINER) if (first.n_max, first.l_max) == FINE else (FINE,)
        resized = {f"n_max={n}, l_max={l}": with_basis(kernel, n, l) for n, l in sizes}
        tried = {
            size: other
            for size, other in resized.items()
            if max(t.descriptor.n_spectrum for t in other.terms) <= LONGEST
        }
        if not tried:
            return kernel, list(made.values())
        kernel, best, name, told = _better(kernel, best, tried, judge)
        for i, term in enumerate(kernel.terms):
            for key, value in (("n_max", term.descriptor.n_max), ("l_max", term.descriptor.l_max)):
                usual = made[f"descriptor.{i}.{key}"]
                reason = told if name is not None else f"{usual.reason}; {told}"
                made[usual.key] = Choice(usual.key, value, reason)
    return kernel, list(made.values())


def open_questions(settings: Settings) -> tuple[bool, bool]:
    """Whether the power, and whether the size of the bases, is left open, and there is time to ask."""
    if settings.model.time < SHARE * SECONDS:
        return False, False
    power = settings.kernel.type == "dot_power" and settings.kernel.zeta == "auto"
    return power, all(d.n_max == "auto" and d.l_max == "auto" for d in settings.descriptor)


def with_power(kernel: EnergyKernel, power: float) -> EnergyKernel:
    """The same descriptors with another power ζ."""
    return EnergyKernel(tuple(Term(t.descriptor, DotPower(power)) for t in kernel.terms), kernel.similarity)


def with_basis(kernel: EnergyKernel, n_max: int, l_max: int) -> EnergyKernel:
    """The same kernel on descriptors with bases of another size."""
    terms = tuple(Term(t.descriptor.with_basis(n_max, l_max), t.kernel) for t in kernel.terms)
    return EnergyKernel(terms, kernel.similarity)


def _noted(choice: Choice, found: str) -> Choice:
    """The choice with what was found in its reason, before the unit if that ends with one."""
    unit = "; Å" if choice.reason.endswith("; Å") else ""
    return Choice(choice.key, choice.value, f"{choice.reason.removesuffix(unit)}; {found}{unit}")


def _better(
    kernel: EnergyKernel, best: LeftOut, others: dict[str, EnergyKernel], judge: Judge
) -> tuple[EnergyKernel, LeftOut, str | None, str]:
    """The best of them, what it predicts, its name if it is an other one, and what was found."""
    chosen, predicted, name, largest = kernel, best, None, WORTH
    told = []
    for label, other in others.items():
        found = judge(other)
        fall = error_fall(found, best, len(OBSERVABLES))
        told.append(f"{100 * fall:+.1f} % with {label}")
        if fall > max(largest, SURE * error_fall_spread(found, best, len(OBSERVABLES))):
            chosen, predicted, name, largest = other, found, label, fall
    return chosen, predicted, name, f"errors of structures left out fall by {', '.join(told)}"
