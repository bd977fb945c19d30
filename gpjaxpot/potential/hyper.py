"""The posterior over signal variance and noise levels, and models that mix the posteriors at draws from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Array

from gpjaxpot.errors import InputError
from gpjaxpot.gp.laplace import LogDensity, laplace, with_prior
from gpjaxpot.gp.levels import exact_evidence, sparse_evidence
from gpjaxpot.gp.mixture import Mixture
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.gp.nuts import nuts
from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.exact_fit import evidence_arguments, learn_levels, posterior_at
from gpjaxpot.potential.exact_model import ExactModel
from gpjaxpot.potential.levels import PRIOR, VARIANCE, Levels, logs
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.sparse_fit import Assembled
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.training import Observations, learnable
from gpjaxpot.structures.structure import Structure

Callback = Callable[[str, int, int], None]
# Where the density's logarithm differs from Laplace's parabola by more, its members are no draws from the posterior.
LARGEST_MISFIT = 2.0


@dataclass(frozen=True)
class Solved:
    """A model, conditioned at one set of levels or mixing posteriors at several."""

    model: SparseModel | ExactModel
    levels: Levels
    """Of the highest density; reported noise is then the root mean square over the members."""
    variance: float
    """Signal variance of the kernel that the model goes with: the members' mean."""
    record: dict[str, Any] | None = None
    choices: tuple[Choice, ...] = ()


def single(model: SparseModel | ExactModel, levels: Levels) -> Solved:
    """A model at one set of levels."""
    return Solved(model, levels, levels.values[VARIANCE])


def check_free(settings: Settings, free: tuple[str, ...], data: Sequence[Observations]) -> None:
    """Refuse, before any work, what has no posterior.

    Raises:
        InputError: if no level is free that the data speak of.
    """
    if not set(free) & {VARIANCE, *learnable(data)}:
        raise InputError(
            f"hyper.method={settings.hyper.method}, but kernel.variance and all noise levels are given: nothing is "
            'left to be uncertain of; set one of them to "auto", or hyper.method=none'
        )


def sparse_mixture(
    assembled: Assembled, start: dict[str, float], free: tuple[str, ...], levels: Levels, settings: Settings,
    callback: Callback,
) -> Solved:  # fmt: skip
    """Mix sparse posteriors on common inducing environments; `levels` are those learned before."""
    evidence = partial(sparse_evidence, parts=assembled.parts)
    members, found, record, choice = draw_members(evidence, start, free, levels, settings, callback)
    mean = float(np.mean([m[VARIANCE] for m in members]))
    at_best = float(evidence(logs(found.values)))
    posterior = Mixture.of_sparse(
        assembled.whitening / np.sqrt(mean),
        _counted((assembled.white(m) for m in members), len(members), callback),
        [m[VARIANCE] / mean for m in members],
        at_best,
    )
    return Solved(SparseModel(assembled.inducing, posterior), found, mean, record, (choice,))


def exact_mixture(
    covariance: np.ndarray, structures: Sequence[Structure], data: Sequence[Observations], start: dict[str, float],
    free: tuple[str, ...], settings: Settings, callback: Callback,
) -> Solved:  # fmt: skip
    """Mix exact posteriors; `covariance` is that of all observations at unit signal variance."""
    levels = learn_levels(covariance, data, settings.train, start, free, callback)
    matrix, sigma, kind, targets = evidence_arguments(covariance, data)

    def evidence(x: dict) -> Array:
        return exact_evidence(x, matrix, sigma, kind, targets, OBSERVABLES)

    members, found, record, choice = draw_members(evidence, start, free, levels, settings, callback)
    mean = float(np.mean([m[VARIANCE] for m in members]))
    at_best = float(evidence(logs(found.values)))
    posterior = Mixture.of_exact(
        _counted((posterior_at(covariance, data, m) for m in members), len(members), callback),
        [m[VARIANCE] / mean for m in members],
        at_best,
    )
    model = ExactModel(tuple(structures), tuple(o.places for o in data), posterior)
    return Solved(model, found, mean, record, (choice,))


def draw_members(
    evidence: LogDensity,
    start: dict[str, float],
    free: tuple[str, ...],
    learned: Levels,
    settings: Settings,
    callback: Callback,
) -> tuple[list[dict[str, float]], Levels, dict[str, Any], Choice]:
    """Draw levels from their posterior: evidence times priors.

    Where levels are learned by leaving structures out, the energy noise stays as that has it: the evidence would give
    energies up for forces, which outnumber them.

    Args:
        evidence: log evidence at the logarithms of all levels.
        start: levels around which the priors lie, normal in the logarithm with width `PRIOR`.
        free: which levels are uncertain.
        learned: all levels that the data have, as learned before; where the search begins.
        settings: method, number of members, seed.
        callback: progress.

    Returns:
        The members' levels, those of the highest density, a record in plain JSON, and the choice made.
    """
    hyper, begin = settings.hyper, learned.values
    names = tuple(n for n in free if n in begin)
    kept = settings.train.objective == "left_out" and "energy" in names and len(names) > 1
    if kept:
        names = tuple(n for n in names if n != "energy")
    fixed = logs(begin)
    density = with_prior(lambda x: evidence(fixed | x), {n: start[n] for n in names}, PRIOR)
    begin_free, seed = {n: begin[n] for n in names}, settings.train.seed
    centre, root = np.log(list(begin_free.values())), np.eye(len(names))
    try:
        normal = laplace(density, begin_free, lambda done, total: callback("maximum", done, total))
        centre, root = normal.mode, normal.root
    except InputError:  # to NUTS it is a help, no need
        if hyper.method == "laplace":
            raise
        normal = None
    if normal is not None and hyper.method == "laplace":
        points = everything = normal.points(hyper.members, seed)
        misfit = normal.misfit(density, points)
        quality: dict[str, Any] = {"misfit": misfit}
        why = f"posterior of {', '.join(names)} by Laplace"
        if misfit > LARGEST_MISFIT:
            why += f"; it is not normal (log density off by {misfit:.1f} at a member): hyper.method=nuts is right"
    else:
        draws = nuts(
            density, names, centre, root, hyper.draws, seed,
            lambda done, total: callback("nuts", done, total),
        )  # fmt: skip
        points, everything = draws.thinned(hyper.members), draws.logarithms.reshape(-1, len(names))
        quality = {
            "r_hat": draws.r_hat, "effective_draws": draws.effective, "acceptance": draws.acceptance,
            "divergences": draws.divergences,
        }  # fmt: skip
        why = f"posterior of {', '.join(names)} by NUTS (R-hat {draws.r_hat:.3f}, {draws.divergences} divergences)"
    values = np.exp(points)
    members = [begin | {n: float(v) for n, v in zip(names, row, strict=True)} for row in values]
    best = begin | {n: float(np.exp(v)) for n, v in zip(names, centre, strict=True)}
    reported = learned.reported | {n: float(np.sqrt(np.mean([m[n] ** 2 for m in members]))) for n in names}
    reported.pop(VARIANCE, None)
    if kept:
        why += "; the energy noise stays as structures left out have it"
    spread = {n: float(s) for n, s in zip(names, np.std(everything, axis=0), strict=True)}
    record = {
        "method": hyper.method,
        "members": hyper.members,
        "std_of_logarithm": spread,
        **quality,
        "levels": {n: [m[n] for m in members] for n in names},
    }
    levels = Levels(best, reported, "highest posterior density", misfits=learned.misfits)
    return members, levels, record, Choice("hyper.members", hyper.members, why)



def _counted(members, total: int, callback: Callback):
    for k, member in enumerate(members):
        yield member
        callback("members", k + 1, total)
