"""What a fit was made with: settings that reproduce it, data, versions."""

import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gpjaxpot.errors import InputError
from gpjaxpot.gp.mixture import Mixture
from gpjaxpot.gp.noise import OBSERVABLES, Noise
from gpjaxpot.kernels import EnergyKernel
from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.exact_model import ExactModel
from gpjaxpot.potential.kernel_spec import to_spec
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.training import Observations
from gpjaxpot.structures.duplicates import mark
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.nearest import nearest_by_pair
from gpjaxpot.structures.reference import EnergyReference

UNITS = {"energy": "eV", "length": "Å", "forces": "eV/Å", "stress": "eV/Å³"}


def make_record(
    kernel: EnergyKernel,
    model: SparseModel | ExactModel,
    reference: EnergyReference,
    noise: Noise,
    settings: Settings,
    choices: Sequence[Choice],
    frames: Sequence[Frame],
    data: Sequence[Observations],
) -> dict[str, Any]:
    """Everything that a fit was made with, as plain JSON: `Potential.summary`."""
    sparse = isinstance(model, SparseModel)
    resolved = settings.model_dump(mode="json")
    # A posterior of levels is found again from levels that are auto.
    levels = {"kernel.variance"} | {f"noise.{part}{n}" for n in OBSERVABLES for part in ("", "aleatoric_")}
    # The same components are found again; given as a number, all species would have as many.  So is the calibration,
    # whose way may differ from one observable to the next.
    again = {"model.features", "calibration.method"} | (set() if settings.hyper.method == "none" else levels)
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
            "cohesion": None if reference.cohesion is None else [float(v) for v in reference.cohesion],
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
        "least_distances": nearest_by_pair(frames, kernel.species, kernel.reach),
        "structure_marks": [mark(f) for f in frames if len(f.structure) > 1],
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
