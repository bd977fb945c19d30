"""The posterior of a task, exact or sparse, with the noise that the data show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Int

from gpjaxpot.errors import InputError
from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.inducing import SELECTIONS
from gpjaxpot.gp.noise import Noise
from gpjaxpot.kernels import EnergyKernel
from gpjaxpot.potential.budget import Estimate, plan
from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.compared import Known
from gpjaxpot.potential.compression import compress
from gpjaxpot.potential.exact_fit import condition, dense_covariance, judge_exact
from gpjaxpot.potential.growth import Grown, grow
from gpjaxpot.potential.held_out import Before, Judged, choose, leaves_out, priors
from gpjaxpot.potential.hyper import Solved, exact_mixture, single, sparse_mixture
from gpjaxpot.potential.left_out_structures import (
    LeftOutStructures,
    exact_left_out_structures,
    sparse_left_out_structures,
)
from gpjaxpot.potential.refined_evidence import RefinedEvidence
from gpjaxpot.potential.refinement import Refined, refine
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.span import SPAN, span_size
from gpjaxpot.potential.sparse_cost import over_budget
from gpjaxpot.potential.sparse_fit import judge_sparse
from gpjaxpot.potential.spreads import Factors
from gpjaxpot.potential.staged_set import StagedSet
from gpjaxpot.potential.task import Task
from gpjaxpot.potential.training import Observations
from gpjaxpot.structures.batch import Neighbourhood, neighbourhood
from gpjaxpot.structures.labels import Frame

Callback = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Fitted:
    """A model with its levels, the kernel and the noise that it goes with, and what was chosen on the way."""

    kernel: EnergyKernel
    noise: Noise
    solved: Solved
    choices: list[Choice]
    left_out: LeftOutStructures | None
    """Makes what the model says of training structures that are left out; None where that has no closed form."""
    evidence: RefinedEvidence | None = None
    """Of the posterior that a refined mean is of, where it was asked for."""


def solve_exact(task: Task, kernel: EnergyKernel, noise: Noise) -> Fitted:
    """The exact posterior, or the mixture of several."""
    settings, report, train = task.settings, task.report, task.settings.train
    data = task.data(noise)
    covariance = dense_covariance(kernel, task.structures, data, report)

    def judge(noise: Noise, before: Judged | None) -> Judged:
        tried = task.data(noise)
        return judge_exact(covariance, tried, train, *task.start(noise, tried), before, report)

    noise, choices = task.shaped(noise, data, judge)
    data = task.data(noise)
    start, free = task.start(noise, data)
    if settings.hyper.method != "none":
        solved = exact_mixture(covariance, task.structures, data, start, free, settings, report)
        return Fitted(kernel, noise, solved, [*choices, *solved.choices], None)
    solved = single(*condition(covariance, task.structures, data, train, start, free, report))
    posterior = solved.model.posterior
    assert isinstance(posterior, ExactPosterior)
    left_out = partial(exact_left_out_structures, kernel, task.structures, posterior, data, solved.levels.values)
    return Fitted(kernel, noise, solved, [*choices, *solved.choices], left_out)


@dataclass(frozen=True)
class _Ground:
    """What sparse models of one kernel stand on, whatever their noise and inducing environments."""

    kernel: EnergyKernel
    """On the components of its vectors that are kept."""
    choices: list[Choice]
    estimate: Estimate
    """Of a fit with these components."""
    training: StagedSet
    chosen: Int[np.ndarray, " chosen"]
    """Places of the structures that are left out, always the same."""
    priors: Callable[[], dict[int, Before]]
    """Of those structures; made once, when they are first asked for."""

    @classmethod
    def make(
        cls, task: Task, kernel: EnergyKernel, data: Sequence[Observations], most: int | None, left: bool
    ) -> "_Ground":
        """Project the kernel's vectors, on at most so many components, and choose what is left out, if it is asked."""
        settings, report = task.settings, task.report
        found = [neighbourhood(s, kernel.species, kernel.reach) for s in task.structures]
        kernel, choices = _compressed(kernel, found, settings, most, report)
        known = settings.model.model_copy(update={"method": "sparse", "features": "all"})
        if known.selection == SPAN:
            known = known.model_copy(update={"n_inducing": _spanned(kernel, settings, most)})
        estimate = plan(task.frames, kernel, known, sum(len(o) for o in data), task.before, task.crew, left)
        training = StagedSet(kernel, found, float(estimate.spare_bytes), task.crew)
        chosen = choose(data, settings.model.time) if left else np.zeros(0, np.int64)
        before = cache(lambda: priors(kernel, found, data, chosen, report))
        return cls(kernel, choices, estimate, training, chosen, before)


def judge_kernel(task: Task, kernel: EnergyKernel, noise: Noise) -> Judged:
    """What a sparse model with this kernel and few inducing environments makes of structures left out."""
    data = task.data(noise)
    task = replace(task, settings=_by_few(task.settings))
    ground = _Ground.make(task, kernel, data, None, True)
    start = task.start(noise, data)
    return judge_sparse(
        ground.training, data, task.settings, *start, None, ground.chosen, ground.priors, task.report, "kernel"
    )


def solve_sparse(
    task: Task, kernel: EnergyKernel, noise: Noise, estimate: Estimate, checkpoint: Path | None
) -> Fitted:
    """The sparse posterior, as large as pays, its mean refined where that is wanted; or the mixture of several."""
    settings, report = task.settings, task.report
    data = task.data(noise)
    ground = _Ground.make(task, kernel, data, estimate.most_features, leaves_out(settings))
    kernel, choices, estimate, training = ground.kernel, ground.choices, ground.estimate, ground.training

    def judge(noise: Noise, before: Judged | None) -> Judged:
        tried = task.data(noise)
        few = _by_few(settings)
        of = task.start(noise, tried)
        return judge_sparse(training, tried, few, *of, before, ground.chosen, ground.priors, report)

    noise, shaped = task.shaped(noise, data, judge)
    data = task.data(noise)
    start, free = task.start(noise, data)
    grown = grow(training, data, estimate, settings, start, free, ground.chosen, ground.priors, report, checkpoint)
    if grown.reason:
        choices.append(Choice("model.n_inducing", len(grown.assembled.inducing), grown.reason))
    if settings.hyper.method != "none":
        solved = sparse_mixture(grown.assembled, start, free, grown.levels, settings, report)
        return Fitted(kernel, noise, solved, [*choices, *shaped, *solved.choices], None)
    refined = _refined(grown, free, estimate, settings, report)
    solved = single(refined.model or grown.assembled.condition(refined.levels.values), refined.levels)
    choices += [*shaped, *([] if settings.model.refine is False else [refined.choice]), *refined.beside]

    def left_out(frames: Sequence[Frame], noise: Noise, spread: Factors) -> list[Known]:
        levels, errors = refined.levels.values, refined.errors
        return sparse_left_out_structures(grown.assembled, levels, ground.priors(), errors, frames, noise, spread)

    # Of a refined mean there is a closed form for none but the structures that it was judged on.
    known = refined.model is None or refined.errors is not None
    return Fitted(kernel, noise, solved, choices, left_out if known else None, refined.evidence)


def _by_few(settings: Settings) -> Settings:
    """Settings of a model with few inducing environments, by which choices are made: they are atoms'."""
    if settings.model.selection != SPAN:
        return settings
    return settings.model_copy(
        update={"model": settings.model.model_copy(update={"selection": SELECTIONS[0], "n_inducing": "auto"})}
    )


def _spanned(kernel: EnergyKernel, settings: Settings, most: int | None) -> int:
    """How many inducing vectors span the functions of the kernel, whose components may be `most`.

    Raises:
        InputError: where they are more than the budget allows, or not as many as were asked for.
    """
    size, asked = span_size(kernel), settings.model.n_inducing
    components = max(t.descriptor.n_features for t in kernel.terms)
    if asked != "auto" and int(asked) != size:
        raise InputError(
            f"model.n_inducing={asked}, but with {components} components model.selection=span takes {size} inducing "
            "vectors: leave model.n_inducing out"
        )
    if asked == "auto" and most is not None and components > most:
        raise over_budget(components, size, most)
    return size


def _compressed(
    kernel: EnergyKernel, found: Sequence[Neighbourhood], settings: Settings, most: int | None, report: Callback
) -> tuple[EnergyKernel, list[Choice]]:
    """The kernel on as many components of its vectors as the settings want, or as many as matter, up to `most`."""
    wanted, bound = settings.model.features, settings.model.most_features
    if wanted == "all":
        return kernel, []
    whole = max(t.descriptor.n_spectrum for t in kernel.terms)
    most = min(most or whole, whole) if bound == "auto" else bound
    count, tolerance = None if wanted == "auto" else int(wanted), settings.model.feature_tolerance
    made = compress(kernel, found, count, settings.train.seed, report, most, tolerance)
    if made is None:
        why = "few as they are, or nearly all needed, or kernel or species allow no projection"
        return kernel, [Choice("model.features", "all", why)]
    why = f"of {whole}; this leaves out {made.dropped:.1g} of a vector's length (rms), {made.worst:.1g} at worst"
    choices = [Choice("model.features", made.kept, why)]
    if wanted == "auto" and bound == "auto":
        # Found again by a slower machine, it would be another.
        what = "the exact posterior" if settings.model.selection == SPAN else "solving for the exact mean"
        why = "no bound" if most == whole else f"of more there would be too little time or memory for {what}"
        choices.append(Choice("model.most_features", most, why))
    return made.kernel, choices


def _refined(
    grown: Grown, free: tuple[str, ...], estimate: Estimate, settings: Settings, report: Callback
) -> Refined:
    """The refined mean of a sparse model, where that is wanted."""
    asked = settings.model.refine
    refined = Refined(None, grown.levels, estimate.refine)
    if settings.model.selection == SPAN:
        return refined
    if settings.train.objective == "evidence" and asked == "auto":
        refined = replace(refined, reason="levels are those of the sparse model's evidence")
    elif asked is True or (asked == "auto" and not estimate.refine):
        refined = refine(grown.assembled, grown.levels, free, grown.kept, settings, estimate.effort, report)
    return refined
