"""The discrete part of a kernel, the power ζ and the size of the bases, by what structures left out say of it.

One thing is tried after the other, with the hyperparameters that were learned for the usual form, on a part of the data
and with few inducing environments.
"""

from collections.abc import Callable, Sequence

from gpjaxpot.gp.left_out import LeftOut, error_fall, error_fall_spread
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.kernels import DotPower, EnergyKernel, Term
from gpjaxpot.potential.choices import COARSE, FINE, FINER, USUAL_POWER, Choice
from gpjaxpot.potential.settings import Settings

Judge = Callable[[EnergyKernel], LeftOut]
# Atoms of the part of the data, about, and structures of it at the least.
ATOMS = 2000
STRUCTURES = 20
POWERS = (3.0, 6.0)
# Another form must lower the errors of structures left out by this share, less is what another draw of inducing
# environments does, and by so many standard errors.
WORTH = 0.02
SURE = 2.0
# Longer vectors of the finer basis are not tried: all work grows with them.
LONGEST = 1500
# Seconds that it takes, about; nothing is asked where a fit may take less than so many times as long.
SECONDS = 120.0
SHARE = 5.0


def choose_form(
    kernel: EnergyKernel, choices: Sequence[Choice], settings: Settings, judge: Judge
) -> tuple[EnergyKernel, list[Choice]]:
    """Try other powers, then the next sizes of the bases, where the settings leave them open.

    Args:
        kernel: of the usual form.
        choices: with those of the usual form, which are replaced where another one is better.
        settings: say what is open.
        judge: predicts structures left out, always the same, by a model with some kernel.

    Returns:
        The kernel, and the choices.
    """
    open_power, open_basis = open_questions(settings)
    if not (open_power or open_basis):
        return kernel, list(choices)
    made = {c.key: c for c in choices}
    best = judge(kernel)
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
