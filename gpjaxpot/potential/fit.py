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
from gpjaxpot.gp.noise import INDEPENDENT, OBSERVABLES, Noise, as_groups
from gpjaxpot.kernels import AbstractKernel, EnergyKernel, Scaled, Term
from gpjaxpot.potential import kernel_form
from gpjaxpot.potential.budget import plan
from gpjaxpot.potential.calibrate import calibrate, calibrate_known, check_wanted
from gpjaxpot.potential.calibration import Calibration
from gpjaxpot.potential.choices import Choice, kernel_function, training_species
from gpjaxpot.potential.cohesive_energies import choose_cohesion
from gpjaxpot.potential.crew import Crew
from gpjaxpot.potential.growth import checkpoints
from gpjaxpot.potential.hyper import check_free
from gpjaxpot.potential.learned_kernel import learn_kernel, searches, spread_sample
from gpjaxpot.potential.left_out_structures import LeftOutStructures
from gpjaxpot.potential.levels import VARIANCE, Levels
from gpjaxpot.potential.potential import STANDARD_ERROR, Potential, _need_float64
from gpjaxpot.potential.record import make_record
from gpjaxpot.potential.refinement import without_refined
from gpjaxpot.potential.repulsion_radii import check_repulsion, choose_repulsion
from gpjaxpot.potential.settings import ModelSettings, NoiseSettings, Settings
from gpjaxpot.potential.solve import judge_kernel, solve_exact, solve_sparse
from gpjaxpot.potential.span import SPAN, check_spannable
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.spreads import Factors
from gpjaxpot.potential.task import Task
from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.reference import EnergyReference, fit_reference
from gpjaxpot.structures.splits import block_split

Callback = Callable[[str, int, int], None]
# Structures that are kept out of a fit go together in runs of neighbours, at most so long.
LONGEST_RUN = 10
RAW = "spreads are raw, `gpjaxpot calibrate` takes other structures"
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
        return _held_out(frames, parts, settings, report, checkpoint, mesh)
    crew = Crew.of(mesh)
    started = time.monotonic()
    _check_calibration(frames, settings)
    check_repulsion(frames, settings.repulsion)
    _check_selection(parts, settings)
    kernel, choices = _kernel(frames, parts, settings, report)
    reference = fit_reference(frames, given=settings.energy_per_species or None)
    reference, cohesion, choice = choose_cohesion(frames, reference, kernel.species, kernel.reach, settings.cohesion)
    choices.append(choice)
    task = Task(frames, reference, settings, report, crew)
    noise = initial_noise(settings.noise)
    if not parts and searches(frames, settings):
        kernel, choices = _form(task, kernel, choices, noise)
    data = task.data(noise)
    estimate = plan(frames, kernel, settings.model, sum(len(o) for o in data), crew=crew)
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
    learned = _noise(noise, levels, settings.noise)
    choices += _level_choices(settings, levels, free, learned, reference)
    spread = _spread(levels, settings.model)
    repulsion, chosen = choose_repulsion(frames, final, settings.repulsion)
    choices += chosen
    calibration, choice = _calibration(fitted.left_out, frames, learned, spread, settings)
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


def _check_calibration(frames: Sequence[Frame], settings: Settings) -> None:
    """Refuse, before any work, a calibration that was asked for and cannot be."""
    wanted = settings.calibration
    if wanted.method in ("auto", "none"):
        return
    if settings.hyper.method != "none":
        raise InputError(
            "of a posterior over levels (hyper.method) there is no closed form for structures left out: set "
            "calibration.fraction, or calibration.method=none"
        )
    check_wanted(wanted.method, wanted.level, sum(not (f.isolated or f.labels.empty) for f in frames))


def _check_selection(parts: Sequence[Any], settings: Settings) -> None:
    """Refuse, before any work, to span what is not finite."""
    if settings.model.selection != SPAN or settings.model.method == "exact":
        return
    whole = [t for p in parts if isinstance(p, EnergyKernel) for t in p.terms]
    kernels = [p for p in parts if isinstance(p, AbstractKernel)]
    kernels += [t.kernel for t in (*whole, *(p for p in parts if isinstance(p, Term)))]
    check_spannable(kernels or [kernel_function(settings.kernel)])


def _held_out(
    frames: Sequence[Frame],
    parts: Sequence[Any],
    settings: Settings,
    report: Callback,
    checkpoint: Path | None,
    mesh: Mesh | None,
) -> Potential:
    """Fit to some of the structures, and calibrate on the others, runs of neighbouring ones going together."""
    wanted = settings.calibration
    bound = [i for i, f in enumerate(frames) if not f.isolated]
    # Runs as long as leave ten of them at the least, where there are so many structures.
    run = min(LONGEST_RUN, max(1, int(wanted.fraction * len(bound)) // 10))
    (out,) = block_split(len(bound), [wanted.fraction], block=run, seed=settings.train.seed)
    kept_out = {bound[i] for i in out}
    rest_species = {int(z) for i, f in enumerate(frames) if i not in kept_out for z in f.structure.numbers}
    # A species that only they have must be fitted.
    kept_out = {i for i in kept_out if {int(z) for z in frames[i].structure.numbers} <= rest_species}
    check_wanted(wanted.method, wanted.level, sum(not frames[i].labels.empty for i in kept_out))
    rest = [f for i, f in enumerate(frames) if i not in kept_out]
    plain = settings.model_copy(update={"calibration": wanted.model_copy(update={"method": "none"})})
    potential = fit(rest, *parts, settings=plain, callback=report, checkpoint=checkpoint, mesh=mesh)
    source, key = f"{len(kept_out)} of {len(bound)} structures, kept out of the fit", "calibration.method"
    try:
        made = calibrate(
            potential, [frames[i] for i in sorted(kept_out)], wanted.method, wanted.level,
            source=source, seed=settings.train.seed, callback=report,
        )  # fmt: skip
        done = made.record["calibration"]
        choice = Choice(key, done["method"], f"{done['reason']}; on {done['source']}")
    except (InputError, ArithmeticError, np.linalg.LinAlgError) as error:  # the fit is not lost with it
        made, choice = potential.with_calibration(None), Choice(key, "none", f"{error}; {RAW}")
    made.record["settings"] |= {"calibration": wanted.model_dump(mode="json")}
    made.record["choices"] = [c for c in made.record["choices"] if c["key"] != choice.key] + [choice.plain()]
    return made


def _calibration(
    left_out: LeftOutStructures | None, frames: Sequence[Frame], noise: Noise, spread: Factors, settings: Settings
) -> tuple[Calibration | None, Choice]:
    """Calibrate on training structures that are left out in turn, where that can be done; and say what was done."""
    wanted, key = settings.calibration, "calibration.method"
    if wanted.method == "none":
        return None, Choice(key, "none", "asked for; spreads are raw")
    if left_out is None:
        if settings.hyper.method != "none":
            why = "of a posterior over levels there is no closed form for structures left out"
        else:
            why = "the refined mean was judged on no structures"
    else:
        known = left_out(frames, noise, spread)
        try:
            source = f"{len(known)} training structures, each left out"
            made = calibrate_known(known, wanted.method, wanted.level, source, settings.train.seed)
        except (InputError, ArithmeticError, np.linalg.LinAlgError) as error:  # the fit is not lost with it
            why = str(error)
        else:
            return made, Choice(key, made.record["method"], f"{made.record['reason']}; on {source}")
    return None, Choice(key, "none", f"{why}; {RAW}")


def _suspects(frames: Sequence[Frame], misfits: dict[int, float]) -> list[dict[str, Any]]:
    """Structures whose labels the others contradict, the worst first; they were trained on like all."""
    # Beside the median: what is far out widens the σ of all.
    usual = max(float(np.median(list(misfits.values()))), LEAST_USUAL) if misfits else 1.0
    far = sorted(((z / usual, i) for i, z in misfits.items() if z > SUSPECT * usual), reverse=True)
    return [{"structure": frames[i].source or f"structure {i}", "misfit": round(z, 1)} for z, i in far]


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


def _kernel(
    frames: Sequence[Frame], parts: Sequence[Any], settings: Settings, report: Callback
) -> tuple[EnergyKernel, list[Choice]]:
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
        return whole, []
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
        chosen, choices = learn_kernel(frames, settings, report)
        choices = [c for c in choices if c.key != "kernel.zeta"]  # the kernel is given
        return EnergyKernel(tuple(Term(t.descriptor, shared) for t in chosen.terms)), choices
    return EnergyKernel(tuple(made)), []


def _form(
    task: Task, kernel: EnergyKernel, choices: list[Choice], noise: Noise
) -> tuple[EnergyKernel, list[Choice]]:
    """The kernel's power and the size of its bases, by a part of the data, where that has enough of everything."""
    part = replace(task, frames=spread_sample(task.frames, kernel_form.ATOMS))
    if len(part.frames) < kernel_form.STRUCTURES or set(training_species(part.frames)) < set(kernel.species):
        return kernel, choices
    return kernel_form.choose_form(kernel, choices, task.settings, lambda k: judge_kernel(part, k, noise).left)


def _scale(kernel: EnergyKernel, variance: float) -> EnergyKernel:
    terms = tuple(Term(t.descriptor, Scaled(t.kernel, variance)) for t in kernel.terms)
    return EnergyKernel(terms, kernel.similarity)


def _noise(noise: Noise, levels: Levels, settings: NoiseSettings) -> Noise:
    """Noise with the levels found; those that were asked for by name are reported as they are."""
    reported = []
    for name in OBSERVABLES:
        asked = getattr(settings, f"aleatoric_{name}")
        reported.append(levels.reported.get(name) if asked == "auto" or name not in levels.values else float(asked))
    energy, forces, stress = (levels.values.get(name) for name in OBSERVABLES)
    return replace(noise, energy=energy, forces=forces, stress=stress, reported=tuple(reported))


def _spread(levels: Levels, settings: ModelSettings) -> Factors:
    """Factors on the process's own spreads of energies, forces, stresses: those asked for, or found."""

    def factor(name: str, asked: str | float) -> float:
        return levels.spread.get(name, 1.0) if asked == "auto" else float(asked)

    return factor("energy", settings.spread_energy), 1.0, factor("stress", settings.spread_stress)


def _level_choices(
    settings: Settings,
    levels: Levels,
    free: tuple[str, ...],
    noise: Noise,
    reference: EnergyReference,
) -> list[Choice]:
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
