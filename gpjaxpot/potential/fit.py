"""From labelled structures to a potential."""

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.errors import InputError
from gpjaxpot.gp.mixture import Mixture
from gpjaxpot.gp.noise import OBSERVABLES, Noise, as_groups
from gpjaxpot.kernels import AbstractKernel, EnergyKernel, Scaled, Term
from gpjaxpot.potential.budget import Estimate, plan
from gpjaxpot.potential.choices import Choice, kernel_function, training_species
from gpjaxpot.potential.compression import compress
from gpjaxpot.potential.exact_fit import condition, dense_covariance
from gpjaxpot.potential.growth import Grown, checkpoints, grow
from gpjaxpot.potential.hyper import Solved, check_free, exact_mixture, single, sparse_mixture
from gpjaxpot.potential.kernel_spec import to_spec
from gpjaxpot.potential.learned_kernel import learn_kernel
from gpjaxpot.potential.levels import VARIANCE, Levels
from gpjaxpot.potential.potential import Potential, _need_float64
from gpjaxpot.potential.refinement import Refined, refine
from gpjaxpot.potential.settings import NoiseSettings, Settings
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.staged_set import StagedSet
from gpjaxpot.potential.training import Observations, collect
from gpjaxpot.structures.batch import Neighbourhood, neighbourhood
from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.reference import EnergyReference, fit_reference

Callback = Callable[[str, int, int], None]
# A structure is told of whose labels, when it is left out, are this many times as far from what the others predict, in
# σ, as usual, and what is usual at the least.
SUSPECT = 3.0
LEAST_USUAL = 0.3
UNITS = {"energy": "eV", "length": "Å", "forces": "eV/Å", "stress": "eV/Å³"}


def fit(
    frames: Sequence[Frame],
    *parts: SOAP | AbstractKernel | Term | EnergyKernel,
    settings: Settings | None = None,
    callback: Callback | None = None,
    checkpoint: Path | None = None,
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

    Raises:
        InputError: for data that cannot be fitted, or without float64.
    """
    _need_float64()
    if not frames:
        raise InputError("there are no structures to fit: read a file with energies or forces")
    settings = Settings() if settings is None else settings
    report = (lambda stage, done, total: None) if callback is None else callback
    started = time.monotonic()
    kernel, choices = _kernel(frames, parts, settings, report)
    reference = fit_reference(frames, given=settings.energy_per_species or None)
    noise = initial_noise(settings.noise)
    use = (settings.train.energies, settings.train.forces, settings.train.stress)
    data = collect(frames, reference, noise.opened(), use)
    estimate = plan(frames, kernel, settings.model, sum(len(o) for o in data))
    choices.append(Choice("model.method", estimate.method, estimate.reason))
    start, free = _start(data, noise, settings.kernel.variance)
    structures = [f.structure for f in frames]
    hyper = settings.hyper.method != "none"
    if hyper:
        check_free(settings, free, data)
    if estimate.method == "exact":
        dense = dense_covariance(kernel, structures, data, report)
        solved = (
            exact_mixture(dense, structures, data, start, free, settings, report)
            if hyper
            else single(*condition(dense, structures, data, settings.train.objective, start, free, report))
        )
    else:
        found = [neighbourhood(s, kernel.species, kernel.reach) for s in structures]
        kernel, compressed = _compressed(kernel, found, settings, report)
        choices += compressed
        # Again, now that it is known how many components there are.
        known = settings.model.model_copy(update={"method": "sparse", "features": "all"})
        estimate = plan(frames, kernel, known, sum(len(o) for o in data))
        training = StagedSet(kernel, found, float(estimate.spare_bytes))
        grown = grow(training, data, estimate, settings, start, free, report, checkpoint)
        if grown.reason:
            choices.append(Choice("model.n_inducing", len(grown.assembled.inducing), grown.reason))
        solved = (
            sparse_mixture(grown.assembled, start, free, grown.levels, settings, report)
            if hyper
            else _sparse(grown, free, estimate, settings, report)
        )
    model, levels = solved.model, solved.levels
    choices += solved.choices
    final = _scale(kernel, solved.variance)
    learned = _noise(noise, levels, settings.noise)
    choices += _level_choices(settings, levels, free, learned, reference)
    record = _record(final, model, reference, learned, settings, choices, frames, data)
    if hyper:
        record["hyperparameters"] = solved.record
    record["suspects"] = _suspects(frames, levels.misfits)
    record["fit_seconds"] = round(time.monotonic() - started, 2)
    if checkpoint is not None:
        for path in checkpoints(checkpoint):
            path.unlink(missing_ok=True)
    return Potential(final, model, model.centres(final), reference, learned, record)


def _compressed(
    kernel: EnergyKernel, found: Sequence[Neighbourhood], settings: Settings, report: Callback
) -> tuple[EnergyKernel, list[Choice]]:
    """The kernel on as many components of its vectors as the settings want."""
    wanted = settings.model.features
    if wanted == "all":
        return kernel, []
    made = compress(kernel, found, None if wanted == "auto" else int(wanted), settings.train.seed, report)
    if made is None:
        why = "few as they are, or nearly all needed, or kernel or species allow no projection"
        return kernel, [Choice("model.features", "all", why)]
    whole = max(t.descriptor.n_spectrum for t in kernel.terms)
    why = f"of {whole}; this leaves out {made.dropped:.1g} of a vector's length (rms), {made.worst:.1g} at worst"
    return made.kernel, [Choice("model.features", made.kept, why)]


def _sparse(
    grown: Grown, free: tuple[str, ...], estimate: Estimate, settings: Settings, report: Callback
) -> Solved:
    """The sparse model, its mean refined where that is wanted."""
    asked = settings.model.refine
    refined = Refined(None, grown.levels, estimate.refine)
    if settings.train.objective == "evidence" and asked == "auto":
        refined = replace(refined, reason="levels are those of the sparse model's evidence")
    elif asked is True or (asked == "auto" and not estimate.refine):
        refined = refine(grown.assembled, grown.levels, free, grown.kept, asked is True, report)
    model = refined.model
    if model is None:
        model = grown.assembled.condition(grown.levels.values)
    made = single(model, refined.levels)
    return replace(made, choices=(refined.choice,) if asked == "auto" else ())


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
    for value in (settings.energy, settings.forces, settings.stress):
        if value != "auto" and not float(value) > 0:
            raise InputError(f"a noise level must be positive, got {value}")
    return Noise(
        level(settings.energy),
        level(settings.forces),
        level(settings.stress),
        settings.energy_exponent,
        settings.isolated_energy,
        as_groups(groups),
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
        return EnergyKernel(tuple(Term(t.descriptor, shared) for t in chosen.terms)), choices
    return EnergyKernel(tuple(made)), []


def _start(
    data: Sequence[Observations], noise: Noise, variance: str | float
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Levels as given, or to start from: a tenth of the spread of the labels, per their factor; and which are free."""
    start = {VARIANCE: 1.0 if variance == "auto" else float(variance)}
    free = [VARIANCE] * (variance == "auto")
    for kind, name in enumerate(OBSERVABLES):
        values = [o.targets[(o.kind == kind) & ~o.known] / o.sigma[(o.kind == kind) & ~o.known] for o in data]
        joined = np.concatenate(values)
        given = getattr(noise, name)
        if given is None:
            free.append(name)
            spread = float(np.sqrt(np.mean(joined**2))) if len(joined) else 1.0
            given = max(0.1 * spread, 1e-6)
        start[name] = float(given)
    return start, tuple(free)


def _scale(kernel: EnergyKernel, variance: float) -> EnergyKernel:
    terms = tuple(Term(t.descriptor, Scaled(t.kernel, variance)) for t in kernel.terms)
    return EnergyKernel(terms, kernel.similarity)


def _noise(noise: Noise, levels: Levels, settings: NoiseSettings) -> Noise:
    """Noise with the levels found; those that were asked for by name are reported as they are."""
    reported = []
    for name in OBSERVABLES:
        asked = getattr(settings, f"aleatoric_{name}")
        reported.append(levels.reported.get(name) if asked == "auto" or name not in levels.values else float(asked))
    return Noise(
        *(levels.values.get(name) for name in OBSERVABLES),
        energy_exponent=noise.energy_exponent,
        isolated_energy=noise.isolated_energy,
        groups=noise.groups,
        reported=tuple(reported),
    )


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
        "energy": f"eV·N^{settings.noise.energy_exponent:g}", "forces": "eV/Å", "stress": "eV/Å³"
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
    values = {symbol(z): float(v) for z, v in zip(reference.numbers, reference.values, strict=True)}
    made.append(Choice("energy_per_species", values, f"{reference.origin}; {reference.note}".strip("; ")))
    return made


def _record(
    kernel, model, reference, noise, settings, choices, frames, data
) -> dict[str, Any]:
    sparse = isinstance(model, SparseModel)
    resolved = settings.model_dump(mode="json")
    # A posterior of levels is found again from levels that are auto.
    levels = {"kernel.variance"} | {f"noise.{part}{n}" for n in OBSERVABLES for part in ("", "aleatoric_")}
    # The same components are found again; given as a number, all species would have as many.
    again = {"model.features"} | (set() if settings.hyper.method == "none" else levels)
    for choice in choices:
        if choice.key not in again:
            _resolve(resolved, choice)
    counts = {
        name: int(sum(np.sum(o.kind == k) for o in data)) for k, name in enumerate(OBSERVABLES)
    }
    try:
        spec: Any = to_spec(kernel)
    except InputError:
        spec = None
    return {
        "method": "sparse" if sparse else "exact",
        "n_inducing": len(model.inducing) if sparse else None,
        "kernel": spec,
        "species": list(kernel.species),
        "noise": {n: None if getattr(noise, n) is None else float(getattr(noise, n)) for n in OBSERVABLES},
        "reference": {
            "numbers": list(reference.numbers),
            "values": [float(v) for v in reference.values],
            "origin": reference.origin,
            "note": reference.note,
        },
        "log_marginal_likelihood": float(model.posterior.log_marginal_likelihood),
        "jitter": None if sparse or isinstance(model.posterior, Mixture) else float(model.posterior.jitter),
        "n_structures": len(frames),
        "n_atoms": int(sum(len(f.structure) for f in frames)),
        "n_observations": counts,
        "groups": sorted({f.group for f in frames if f.group is not None}),
        "settings": resolved,
        "choices": [c.plain() for c in choices],
        "units": UNITS,
        "versions": versions(),
        "fingerprint": fingerprint(frames),
    }


def _resolve(resolved: dict[str, Any], choice: Choice) -> None:
    """Put a choice into the settings, so that they reproduce the fit."""
    names = choice.key.split(".")
    target: Any = resolved
    for name in names[:-1]:
        target = target[int(name)] if name.isdigit() else target[name]
    target[names[-1]] = choice.value


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("gpjaxpot", "jax", "jaxlib", "numpy", "scipy", "vesin"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a source tree that is not installed
            found[name] = "unknown"
    return found


def fingerprint(frames: Sequence[Frame]) -> str:
    """SHA-256 of all structures and labels, in their order."""
    digest = hashlib.sha256()
    for frame in frames:
        for leaf in jax.tree.leaves(eqx.filter(frame, lambda x: x is not None)):
            digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
