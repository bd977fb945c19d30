"""From labelled structures to a potential."""

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.errors import InputError
from gpjaxpot.gp.noise import OBSERVABLES, Noise, as_groups
from gpjaxpot.kernels import AbstractKernel, EnergyKernel, Scaled, Term
from gpjaxpot.potential.budget import Estimate, plan
from gpjaxpot.potential.choices import Choice, choose_kernel, kernel_function, training_species
from gpjaxpot.potential.exact_fit import condition, dense_covariance
from gpjaxpot.potential.exact_model import ExactModel
from gpjaxpot.potential.kernel_spec import to_spec
from gpjaxpot.potential.potential import Potential, _need_float64
from gpjaxpot.potential.settings import NoiseSettings, Settings
from gpjaxpot.potential.sparse_fit import choose_inducing, solve, stream
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.training import Observations, collect
from gpjaxpot.structures.batch import neighbourhood
from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.reference import EnergyReference, fit_reference

Callback = Callable[[str, int, int], None]
# Of a learned level, at least this share is taken for noise of the labels.
LEAST_SHARE = 0.1
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
        checkpoint: file by which an interrupted sparse fit resumes; it is removed at the end.

    Raises:
        InputError: for data that cannot be fitted, or without float64.
    """
    _need_float64()
    if not frames:
        raise InputError("there are no structures to fit: read a file with energies or forces")
    settings = Settings() if settings is None else settings
    report = (lambda stage, done, total: None) if callback is None else callback
    started = time.monotonic()
    kernel, choices = _kernel(frames, parts, settings)
    reference = fit_reference(frames, given=settings.energy_per_species or None)
    noise = initial_noise(settings.noise)
    use = (settings.train.energies, settings.train.forces, settings.train.stress)
    data = collect(frames, reference, noise, use)
    estimate = plan(frames, kernel, settings.model, sum(len(o) for o in data))
    choices.append(Choice("model.method", estimate.method, estimate.reason))
    variance = settings.kernel.variance
    start = _start(data, variance)
    free = tuple(
        [n for n in OBSERVABLES if getattr(noise, n) is None] + ["variance"] * (variance == "auto")
    )
    model, levels, spare = _condition(
        kernel, frames, data, estimate, settings, start, free, report, checkpoint, choices
    )
    final = _scale(kernel, levels["variance"])
    learned, reported = _learned(noise, levels, data, settings.noise, spare)
    choices += reported
    choices += _level_choices(settings, levels, free, reference)
    record = _record(final, model, reference, learned, settings, choices, frames, data)
    record["fit_seconds"] = round(time.monotonic() - started, 2)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return Potential(final, model, model.centres(final), reference, learned, record)


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
    frames: Sequence[Frame], parts: Sequence[Any], settings: Settings
) -> tuple[EnergyKernel, list[Choice]]:
    if not parts:
        return choose_kernel(frames, settings)
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
        chosen, choices = choose_kernel(frames, settings)
        return EnergyKernel(tuple(Term(t.descriptor, shared) for t in chosen.terms)), choices
    return EnergyKernel(tuple(made)), []


def _condition(
    kernel, frames, data, estimate: Estimate, settings, start, free, report, checkpoint, choices
) -> tuple[SparseModel | ExactModel, dict[str, float], dict[str, float]]:
    structures = [f.structure for f in frames]
    left_out = settings.train.objective == "left_out"
    if estimate.method == "exact":
        dense = dense_covariance(kernel, structures, data, report)
        return *condition(dense, structures, data, start, free, left_out, report), {}
    found = [neighbourhood(s, kernel.species, kernel.reach) for s in structures]
    inducing = choose_inducing(
        kernel, found, int(estimate.n_inducing or 0), settings.model.selection, settings.train.seed, report
    )
    if settings.model.n_inducing == "auto":
        why = "a sixth of the environments, within 300 to 2000 and the budget"
        choices.append(Choice("model.n_inducing", len(inducing), why))
    elif len(inducing) < int(settings.model.n_inducing):
        why = f"{settings.model.n_inducing} asked for, but there are no more distinct environments"
        choices.append(Choice("model.n_inducing", len(inducing), why))
    factors = stream(kernel, found, data, inducing, report, checkpoint)
    seed = settings.train.seed
    return solve(kernel, found, factors, data, inducing, start, free, left_out, seed, report)


def _start(data: Sequence[Observations], variance: str | float) -> dict[str, float]:
    """Starting levels: a tenth of the spread of each kind of label, per its factor."""
    start = {"variance": 1.0 if variance == "auto" else float(variance)}
    for kind, name in enumerate(OBSERVABLES):
        values = [o.targets[(o.kind == kind) & ~o.known] / o.sigma[(o.kind == kind) & ~o.known] for o in data]
        joined = np.concatenate(values)
        spread = float(np.sqrt(np.mean(joined**2))) if len(joined) else 1.0
        start[name] = max(0.1 * spread, 1e-6)
    return start


def _scale(kernel: EnergyKernel, variance: float) -> EnergyKernel:
    terms = tuple(Term(t.descriptor, Scaled(t.kernel, variance)) for t in kernel.terms)
    return EnergyKernel(terms, kernel.similarity)


def _learned(
    noise: Noise,
    levels: dict[str, float],
    data: Sequence[Observations],
    settings: NoiseSettings,
    spare: dict[str, float],
) -> tuple[Noise, list[Choice]]:
    """Noise with the levels found, and the choice of those that predictions report."""
    seen = {OBSERVABLES[k] for o in data for k in np.unique(o.kind)}
    values = []
    for name in OBSERVABLES:
        given = getattr(noise, name)
        values.append((levels.get(name) if given is None else given) if name in seen else None)
    reported, choices = [], []
    for name, value in zip(OBSERVABLES, values, strict=True):
        asked = getattr(settings, f"aleatoric_{name}")
        if value is not None and asked == "auto" and name in spare:
            value = float(np.sqrt(max(value**2 - spare[name], (LEAST_SHARE * value) ** 2)))
            why = "of the learned level, what the inducing environments do not leave out"
            choices.append(Choice(f"noise.aleatoric_{name}", value, why))
        elif value is not None and asked != "auto":
            value = float(asked)
        reported.append(value)
    made = Noise(
        *values,
        energy_exponent=noise.energy_exponent,
        isolated_energy=noise.isolated_energy,
        groups=noise.groups,
        reported=tuple(reported),
    )
    return made, choices


def _level_choices(
    settings: Settings,
    levels: dict[str, float],
    free: tuple[str, ...],
    reference: EnergyReference,
) -> list[Choice]:
    made = []
    left_out = settings.train.objective == "left_out"
    why = "predicts structures left out best" if left_out else "highest evidence"
    if "variance" in free:
        made.append(Choice("kernel.variance", levels["variance"], f"{why}; eV²"))
    units = {
        "energy": f"eV·N^{settings.noise.energy_exponent:g}", "forces": "eV/Å", "stress": "eV/Å³"
    }  # fmt: skip
    for name in OBSERVABLES:
        if name in free and name in levels:
            made.append(Choice(f"noise.{name}", levels[name], f"{why}; {units[name]}"))
    values = {symbol(z): float(v) for z, v in zip(reference.numbers, reference.values, strict=True)}
    made.append(Choice("energy_per_species", values, f"{reference.origin}; {reference.note}".strip("; ")))
    return made


def _record(
    kernel, model, reference, noise, settings, choices, frames, data
) -> dict[str, Any]:
    sparse = isinstance(model, SparseModel)
    resolved = settings.model_dump(mode="json")
    for choice in choices:
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
        "jitter": None if sparse else float(model.posterior.jitter),
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
