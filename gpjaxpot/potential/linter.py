"""What a person should know about the settings they gave, in the light of their data."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gpjaxpot.errors import did_you_mean
from gpjaxpot.potential.budget import MOST_EXACT, count_labels, free_memory
from gpjaxpot.potential.descriptor_linter import lint_descriptors
from gpjaxpot.potential.linted_data import LintedData, given
from gpjaxpot.potential.noise_linter import lint_noise
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.span import SPAN
from gpjaxpot.structures.elements import atomic_number, symbols
from gpjaxpot.structures.finding import LEVELS, Finding
from gpjaxpot.structures.labels import Frame

_COHESIVE = 15.0  # eV/atom; no solid is bound by more than 9


def lint(settings: Settings, frames: Sequence[Frame]) -> list[Finding]:
    """Return what is doubtful about settings that were given, the gravest first.

    Defaults and "auto" are not spoken about. Only settings that leave nothing to learn are an
    "error"; everything else may be meant. Takes a second.
    """
    if not frames:
        return []
    data = LintedData(frames)
    checks: tuple[Callable[[Settings, LintedData], Iterator[Finding]], ...] = (
        _of_training,
        lint_noise,
        _of_groups,
        lint_descriptors,
        _of_kernel,
        _of_size,
        _of_references,
    )
    findings = [finding for one in checks for finding in one(settings, data)]
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def _of_training(settings: Settings, data: LintedData) -> Iterator[Finding]:
    train = settings.train
    nothing = count_labels(data.frames, (train.energies, train.forces, train.stress)) == 0
    if nothing:
        switched = " ".join(f"{name}={str(getattr(train, name)).lower()}" for name in ("energies", "forces", "stress"))
        yield Finding(
            "error",
            "nothing-to-train-on",
            f"[train] {switched} leaves no label of these data to learn from",
            (),
            "switch on what the data have",
        )
    for name, label in (("energies", "energy"), ("forces", "forces"), ("stress", "stress")):
        have = [i for i, f in enumerate(data.frames) if getattr(f.labels, label) is not None]
        if given(train, name) and getattr(train, name) and not have:
            yield Finding(
                "warning",
                "no-such-label",
                f"train.{name} is on, but no structure has {label}",
                (),
                "look for the key that holds it, or leave the setting out",
            )
    have = [i for i, f in enumerate(data.frames) if f.labels.forces is not None and not f.isolated]
    if not train.forces and have and not nothing:
        yield Finding(
            "warning",
            "forces-unused",
            f"train.forces is off, and the forces of {len(have)} structures are not learned: such a model's dynamics "
            "fly apart",
            tuple(have),
            "leave it on unless the forces are wrong",
        )


def _of_groups(settings: Settings, data: LintedData) -> Iterator[Finding]:
    known = sorted({f.group for f in data.frames if f.group is not None})
    for name in settings.noise.groups:
        if name not in known:
            yield Finding(
                "warning",
                "no-such-group",
                f"[noise.groups.{name}]: no structure is of the group {name}{did_you_mean(name, known)}",
                (),
                f"groups (config_type) of the data: {', '.join(known) or 'none'}",
            )
    if given(settings.noise, "isolated_energy") and not any(f.isolated for f in data.frames):
        yield Finding(
            "note",
            "no-effect",
            "noise.isolated_energy has no effect: there are no isolated atoms",
            (),
            "leave it out, or give isolated atoms",
        )


def _of_kernel(settings: Settings, data: LintedData) -> Iterator[Finding]:
    kernel = settings.kernel
    unused = "length_scale" if kernel.type == "dot_power" else "zeta"
    if given(kernel, unused):
        yield Finding(
            "note",
            "no-effect",
            f"kernel.{unused} has no effect on the kernel {kernel.type}",
            (),
            "leave it out, or set kernel.type",
        )


def _of_size(settings: Settings, data: LintedData) -> Iterator[Finding]:
    model, train = settings.model, settings.train
    atoms = sum(len(f.structure) for f in data.frames)
    if given(model, "n_inducing") and model.selection != SPAN and int(model.n_inducing) > atoms:
        yield Finding(
            "note",
            "inducing-many",
            f"model.n_inducing = {model.n_inducing} is more than the {atoms} environments there are",
            (),
            "all of them are taken",
        )
    n = count_labels(data.frames, (train.energies, train.forces, train.stress))
    if model.method == "exact" and n > 3 * MOST_EXACT:
        memory, free = 3 * 8e-9 * n**2, 1e-9 * free_memory()
        yield Finding(
            "warning",
            "exact-large",
            f"an exact model of {n} labels needs about {memory:.3g} GB to fit (free are {free:.3g}), and all of its "
            "data for each prediction",
            (),
            "take model.method=sparse, or fewer structures; gpjaxpot estimate tells the cost",
        )


def _of_references(settings: Settings, data: LintedData) -> Iterator[Finding]:
    values = settings.energy_per_species
    if not values:
        return
    present = sorted({int(z) for f in data.frames for z in np.unique(f.structure.numbers)})
    have = {atomic_number(name): value for name, value in values.items()}
    lack = [z for z in present if z not in have]
    if lack:
        yield Finding(
            "note",
            "species-left-out",
            f"[energy_per_species] has no value for {symbols(lack)}: it is chosen by isolated atoms or least squares "
            "beside the given ones",
            (),
            "give all or none, unless this is meant",
        )
        return
    rest = [
        ((f.labels.energy or 0.0) - sum(have[int(z)] for z in f.structure.numbers)) / len(f.structure)
        for f in data.having("energy")
    ]
    if rest and abs(float(np.median(rest))) > _COHESIVE:
        yield Finding(
            "warning",
            "species-energy-far",
            f"[energy_per_species] leaves {np.median(rest):.1f} eV/atom to be learned; no solid is bound by that much",
            (),
            "check that the values are in eV, and of the same code and pseudopotentials",
        )
