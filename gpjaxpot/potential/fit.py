"""From labelled structures to a potential."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.errors import InputError
from gpjaxpot.gp.left_out import LeftOut
from gpjaxpot.gp.noise import Noise
from gpjaxpot.kernels import AbstractKernel, EnergyKernel, Scaled, Term
from gpjaxpot.potential import kernel_form
from gpjaxpot.potential.budget import plan
from gpjaxpot.potential.choices import Choice, kernel_function, training_species
from gpjaxpot.potential.cohesion import Cohesion
from gpjaxpot.potential.cohesive_energies import choose_cohesion
from gpjaxpot.potential.crew import Crew
from gpjaxpot.potential.fit_calibration import calibrate_left_out, calibrate_on_rest, check_calibration
from gpjaxpot.potential.fitted_levels import found_noise, found_spread, initial_noise, level_choices
from gpjaxpot.potential.growth import checkpoints
from gpjaxpot.potential.held_out import leaves_out
from gpjaxpot.potential.hyper import check_free
from gpjaxpot.potential.learned_kernel import Searched, learn_kernel, searches, spread_sample
from gpjaxpot.potential.potential import STANDARD_ERROR, Potential, _need_float64
from gpjaxpot.potential.record import make_record
from gpjaxpot.potential.refinement import without_refined
from gpjaxpot.potential.repulsion_radii import check_repulsion, choose_repulsion
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.solve import judge_kernel, solve_exact, solve_sparse
from gpjaxpot.potential.span import SPAN, check_spannable
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.task import Task
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.reference import EnergyReference, fit_reference

Callback = Callable[[str, int, int], None]
# A structure is told of whose labels, when it is left out, are this many times as far from what the others predict, in
# σ, as usual, and what is usual at the least.
SUSPECT = 3.0
LEAST_USUAL = 0.3


def fit(
    frames: Sequence[Frame],
    *parts: SOAP | AbstractKernel | Term | EnergyKernel,
    settings: Settings | None = None,
    callback: Callback | None = None,
    checkpoint: Path | None = None,
    mesh: Mesh | None = None,
) -> Potential:
    """Fit a potential to energies, forces and stresses together.

    Args:
        frames: labelled structures, from `read`.
        parts: SOAP descriptors and one kernel for all of them, or terms, or a whole energy kernel; what is
            not given comes from `settings`.
        settings: everything else; None for the defaults.  The signal variance of `settings` multiplies the
            kernel: give ``variance=1`` to keep a kernel as it is.
        callback: called as ``callback(stage, done, total)`` while the work goes on.
        checkpoint: file by which an interrupted sparse fit resumes, one for each number of inducing environments
            that it tried, which is added to the name; they are removed at the end.
        mesh: devices that share the covariances of a sparse fit, each structure's made by one of them; None for
            wherever JAX computes.  Devices of several processes of `jax.distributed` must be those of all, and each
            process must call this with the same data and settings, and gets the same potential.

    Raises:
        InputError: for data that cannot be fitted, without float64, or where processes differ.
    """
    _need_float64()
    if not frames:
        raise InputError("there are no structures to fit: read a file with energies or forces")
    settings = Settings() if settings is None else settings
    report = (lambda stage, done, total: None) if callback is None else callback
    if settings.calibration.fraction > 0 and settings.calibration.method != "none":

        def fit_some(some: Sequence[Frame], plain: Settings) -> Potential:
            return fit(some, *parts, settings=plain, callback=report, checkpoint=checkpoint, mesh=mesh)

        return calibrate_on_rest(fit_some, frames, settings, report)
    crew = Crew.of(mesh)
    started = time.monotonic()
    check_calibration(frames, settings)
    check_repulsion(frames, settings.repulsion)
    _check_selection(parts, settings)
    kernel, choices, searched = _kernel(frames, parts, settings, report)
    own = fit_reference(frames, given=settings.energy_per_species or None)

    def with_cohesion(kernel: EnergyKernel) -> tuple[EnergyReference, Cohesion | None, Choice]:
        return choose_cohesion(frames, own, kernel.species, kernel.reach, settings.cohesion)

    reach, (reference, cohesion, choice) = kernel.reach, with_cohesion(kernel)
    task = Task(frames, reference, settings, report, crew)
    noise = initial_noise(settings.noise)
    open_form = not parts and searches(frames, settings)
    if searched is not None or open_form:
        kernel, choices = _left_to_choose(task, kernel, choices, noise, searched, open_form)
    if kernel.reach != reach:
        reference, cohesion, choice = with_cohesion(kernel)
        task = replace(task, reference=reference)
    choices.append(choice)
    task = replace(task, before=time.monotonic() - started)
    data = task.data(noise)
    count = sum(len(o) for o in data)
    estimate = plan(frames, kernel, settings.model, count, task.before, crew, leaves_out(settings))
    choices.append(Choice("model.method", estimate.method, estimate.reason))
    hyper = settings.hyper.method != "none"
    if hyper:
        check_free(settings, task.start(noise, data)[1], data)
    if estimate.method == "exact":
        fitted = solve_exact(task, kernel, noise)
    else:
        fitted = solve_sparse(task, kernel, noise, estimate, checkpoint)
    kernel, noise, solved = fitted.kernel, fitted.noise, fitted.solved
    data = task.data(noise)
    free = task.start(noise, data)[1]
    choices += fitted.choices
    model, levels = solved.model, solved.levels
    if not (isinstance(model, SparseModel) and model.refined is not None):
        choices += without_refined(settings)
    final = _scale(kernel, solved.variance)
    learned = found_noise(noise, levels, settings.noise)
    choices += level_choices(settings, levels, free, learned, reference)
    spread = found_spread(levels, settings.model)
    repulsion, chosen = choose_repulsion(frames, final, settings.repulsion)
    choices += chosen
    calibration, choice = calibrate_left_out(fitted.left_out, frames, learned, spread, settings)
    choices.append(choice)
    record = make_record(final, model, reference, learned, settings, choices, frames, data)
    if fitted.evidence is not None:
        record["log_marginal_likelihood"] = fitted.evidence.value
        record[STANDARD_ERROR] = fitted.evidence.standard_error
    if hyper:
        record["hyperparameters"] = solved.record
    record["suspects"] = _suspects(frames, levels.misfits)
    record["calibration"] = None if calibration is None else calibration.record
    record["fit_seconds"] = round(time.monotonic() - started, 2)
    if checkpoint is not None:
        for path in checkpoints(checkpoint):
            path.unlink(missing_ok=True)
    centres = model.centres(final)
    return Potential(final, model, centres, reference, learned, record, calibration, repulsion, cohesion, spread)


def _check_selection(parts: Sequence[Any], settings: Settings) -> None:
    """Refuse, before any work, to span what is not finite."""
    if settings.model.selection != SPAN or settings.model.method == "exact":
        return
    whole = [t for p in parts if isinstance(p, EnergyKernel) for t in p.terms]
    kernels = [p for p in parts if isinstance(p, AbstractKernel)]
    kernels += [t.kernel for t in (*whole, *(p for p in parts if isinstance(p, Term)))]
    check_spannable(kernels or [kernel_function(settings.kernel)])


def _suspects(frames: Sequence[Frame], misfits: dict[int, float]) -> list[dict[str, Any]]:
    """Structures whose labels the others contradict, the worst first; they were trained on like all."""
    # Beside the median: what is far out widens the σ of all.
    usual = max(float(np.median(list(misfits.values()))), LEAST_USUAL) if misfits else 1.0
    far = sorted(((z / usual, i) for i, z in misfits.items() if z > SUSPECT * usual), reverse=True)
    return [{"structure": frames[i].source or f"structure {i}", "misfit": round(z, 1)} for z, i in far]


def _kernel(
    frames: Sequence[Frame], parts: Sequence[Any], settings: Settings, report: Callback
) -> tuple[EnergyKernel, list[Choice], Searched | None]:
    if not parts:
        return learn_kernel(frames, settings, report)
    species = training_species(frames)
    if len(parts) == 1 and isinstance(parts[0], EnergyKernel):
        whole = parts[0]
        if set(species) - set(whole.species):
            raise InputError(
                f"the kernel knows the species {whole.species}, the data have {species}: make its descriptors "
                "with all of them"
            )
        return whole, [], None
    kernels = [p for p in parts if isinstance(p, AbstractKernel)]
    soaps = [p for p in parts if isinstance(p, SOAP)]
    terms = [p for p in parts if isinstance(p, Term)]
    if len(kernels) > 1 or len(kernels) + len(soaps) + len(terms) != len(parts):
        raise InputError(
            "fit takes SOAP descriptors with one kernel for all, or Term(descriptor, kernel) for each, or one "
            f"EnergyKernel; got {', '.join(type(p).__name__ for p in parts)}"
        )
    shared = kernels[0] if kernels else kernel_function(settings.kernel)
    made = [Term(s.with_species(species), shared) for s in soaps]
    made += [Term(t.descriptor.with_species(species), t.kernel) for t in terms]
    if not made:
        chosen, choices, searched = learn_kernel(frames, settings, report)
        choices = [c for c in choices if c.key != "kernel.zeta"]  # the kernel is given
        if searched is not None:
            searched = replace(searched, usual=_with_function(searched.usual, shared))
        return _with_function(chosen, shared), choices, searched
    return EnergyKernel(tuple(made)), [], None


def _with_function(kernel: EnergyKernel, function: AbstractKernel) -> EnergyKernel:
    """The same descriptors with another kernel."""
    return EnergyKernel(tuple(Term(t.descriptor, function) for t in kernel.terms))


def _left_to_choose(
    task: Task, kernel: EnergyKernel, choices: list[Choice], noise: Noise, searched: Searched | None, open_form: bool
) -> tuple[EnergyKernel, list[Choice]]:
    """Learned or usual values, and the form if that is open, by a part of the data that has enough of everything."""
    part = replace(task, frames=spread_sample(task.frames, kernel_form.ATOMS))
    if len(part.frames) < kernel_form.STRUCTURES or set(training_species(part.frames)) < set(kernel.species):
        return kernel, choices

    def judge(kernel: EnergyKernel) -> LeftOut:
        return judge_kernel(part, kernel, noise).left

    best = None
    if searched is not None:
        kernel, choices, best = kernel_form.keep_learned(kernel, choices, searched, judge)
    if open_form:
        kernel, choices = kernel_form.choose_form(kernel, choices, task.settings, judge, best)
    return kernel, choices


def _scale(kernel: EnergyKernel, variance: float) -> EnergyKernel:
    terms = tuple(Term(t.descriptor, Scaled(t.kernel, variance)) for t in kernel.terms)
    return EnergyKernel(terms, kernel.similarity)
