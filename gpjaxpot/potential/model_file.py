"""The model file: one safetensors file, arrays and a JSON header; loading it runs no code."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gpjaxpot.covariance.features import Environments
from gpjaxpot.errors import InputError
from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.mixture import Mixture
from gpjaxpot.gp.noise import Noise
from gpjaxpot.gp.sparse import SparsePosterior
from gpjaxpot.linalg.cholesky import Cholesky
from gpjaxpot.potential.calibration_file import pack, unpack
from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.cohesion import Cohesion
from gpjaxpot.potential.draws import Draws
from gpjaxpot.potential.exact_model import ExactModel
from gpjaxpot.potential.kernel_spec import from_spec
from gpjaxpot.potential.potential import Potential
from gpjaxpot.potential.repulsion import Repulsion
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.spreads import OWN
from gpjaxpot.structures.files import atomic_write
from gpjaxpot.structures.reference import EnergyReference
from gpjaxpot.structures.structure import Structure

# Format 2 has several posteriors mixed, which a reader of format 1 would take for one; format 3 has projected
# descriptors or a refined mean; format 4 has a calibration; format 5 has a repulsion; format 6 has a cohesion; format
# 7 has spreads that are not the process's own.  A model is written in the lowest format that can hold it.
FORMAT = 7
MAGIC = "gpjaxpot"
# Arrays of a posterior, in the order of its fields.
SPARSE = ("weights", "whitening", "factor", "log_marginal_likelihood")
MIXED = ("weights", "whitening", "factor", "between", "shares", "log_marginal_likelihood")
# Arrays of drawn functions, beside those of each term.
DRAWN = ("values", "species", "weights")
# Arrays of a repulsion and of a cohesion.
RADII = ("outer", "inner", "charges")
BONDS = ("cohesive", "enough", "cutoff")
HEADER = "gpjaxpot"
# A header of more than this many bytes is no model's.
LARGEST_HEADER = 100_000_000


def save(potential: Potential, path: str | Path) -> None:
    """Write `potential` to `path`, whole or not at all.

    Raises:
        InputError: if its kernel is a function of the user's own, or the place cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    record = potential.record
    if record.get("kernel") is None:
        raise InputError(
            "a model with a FunctionKernel cannot be stored: a model file holds no code; keep the script that "
            "fits it"
        )
    arrays = {
        name: np.asarray(a, order="C") for name, a in _arrays(potential.model).items()
    }
    arrays["centres.values"] = np.asarray(potential.centres.values)
    arrays |= _beyond(potential)
    noise, calibration = potential.noise, None
    if potential.calibration is not None:
        calibration, parts = pack(potential.calibration, "calibration")
        arrays |= parts
    if potential.repulsion is not None:
        arrays |= {f"repulsion.{name}": np.asarray(getattr(potential.repulsion, name), order="C") for name in RADII}
    if potential.cohesion is not None:
        arrays |= {f"cohesion.{name}": np.asarray(getattr(potential.cohesion, name), order="C") for name in BONDS}
    header = {
        "magic": MAGIC,
        "format": _format(potential),
        "calibration": calibration,
        "record": record,
        "spread": list(potential.spread),
        "noise": {
            "energy_exponent": noise.energy_exponent,
            "isolated_energy": noise.isolated_energy,
            "groups": [[name, [list(p) for p in levels]] for name, levels in noise.groups],
            "factors": [[name, [list(p) for p in of]] for name, of in noise.factors],
            "reported": None if noise.reported is None else list(noise.reported),
        },
        "sha256": {name: _hash(a) for name, a in arrays.items()},
    }
    text = json.dumps(header, ensure_ascii=False, allow_nan=False)
    with atomic_write(path, "wb") as handle:
        handle.write(to_bytes(arrays, {HEADER: text}))


def load(path: str | Path) -> Potential:
    """Read a potential.

    Raises:
        InputError: if the file cannot be read, is damaged, is no model, or is of a newer format.
    """
    header, arrays = _read(Path(path))
    try:
        return _assemble(header, arrays)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{path}: {error}") from error
        raise InputError(
            f"{path} is damaged: its parts do not fit together ({error}); copy it again or refit"
        ) from error


def _format(potential: Potential) -> int:
    """The lowest format that holds all of it."""
    if potential.spread != OWN:
        return 7
    if potential.cohesion is not None:
        return 6
    if potential.repulsion is not None:
        return 5
    if potential.calibration is not None:
        return 4
    return 3 if _beyond(potential) else 2 if isinstance(potential.model.posterior, Mixture) else 1


def _arrays(model: SparseModel | ExactModel) -> dict[str, Any]:
    if isinstance(model, SparseModel):
        out = {"species": model.inducing.species} | _posterior(model.posterior) | _drawn(model.draws)
        return out | {f"features.{i}": f for i, f in enumerate(model.inducing.features)}
    sizes = np.array([len(s) for s in model.structures])
    return {
        "sizes": sizes,
        "positions": np.concatenate([s.positions for s in model.structures]),
        "numbers": np.concatenate([s.numbers for s in model.structures]),
        "cells": np.stack([s.cell for s in model.structures]),
        "pbc": np.array([s.pbc for s in model.structures], dtype=np.uint8),
        "counts": np.array([len(p) for p in model.places]),
        "places": np.concatenate(model.places),
    } | _posterior(model.posterior)


def _drawn(draws: Draws | None) -> dict[str, Any]:
    """Arrays of drawn functions, which a reader that does not know them leaves aside."""
    if draws is None:
        return {}
    out = {f"draws.{name}": getattr(draws, name) for name in DRAWN}
    for name in ("features", "gradients"):
        out |= {f"draws.{name}.{i}": a for i, a in enumerate(getattr(draws, name))}
    return out


def _beyond(potential: Potential) -> dict[str, np.ndarray]:
    """Arrays that formats from the third on know: projections of descriptors, and a refined mean."""
    out = {
        f"projection.{i}": np.asarray(t.descriptor.projection, order="C")
        for i, t in enumerate(potential.kernel.terms)
        if t.descriptor.projection is not None
    }
    mean = potential.centres
    if isinstance(potential.model, SparseModel) and potential.model.refined is not None:
        out["refined.species"] = np.asarray(mean.species)
        for i, (features, gradients) in enumerate(zip(mean.features, mean.gradients or (), strict=True)):
            out[f"refined.features.{i}"] = np.asarray(features, order="C")
            out[f"refined.gradients.{i}"] = np.asarray(gradients, order="C")
    return out


def _posterior(posterior: SparsePosterior | ExactPosterior | Mixture) -> dict[str, Any]:
    if isinstance(posterior, ExactPosterior):
        return {
            "lower": posterior.cholesky.lower,
            "jitter": np.array(posterior.cholesky.jitter),
            "coefficients": posterior.coefficients,
            "targets": posterior.targets,
        }
    names = MIXED if isinstance(posterior, Mixture) else SPARSE
    return {name: getattr(posterior, name) for name in names}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    broken = f"{path} is damaged or no gpjaxpot model"
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder: name the model file in it")
        if os.path.getsize(path) <= 8:
            raise InputError(f"{broken}: it is too short; copy it again or refit")
        with open(path, "rb") as raw:
            if int.from_bytes(raw.read(8), "little") > LARGEST_HEADER:
                raise InputError(f"{broken}: its header is too large; copy it again or refit")
        with safe_open(path, framework="np") as stored:
            metadata = stored.metadata() or {}
            header = json.loads(metadata.get(HEADER, "null"))
            if not isinstance(header, dict) or header.get("magic") != MAGIC:
                raise InputError(f"{path} is a safetensors file, but no gpjaxpot model")
            if header.get("format", 0) > FORMAT:
                raise InputError(
                    f"{path} has model format {header['format']}, this gpjaxpot reads up to {FORMAT}: "
                    "install a newer gpjaxpot"
                )
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, json.JSONDecodeError, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError):
            raise InputError(f"there is no model file {path}: check the name") from error
        raise InputError(f"{broken} ({error}); copy it again or refit") from error
    for name, digest in header.get("sha256", {}).items():
        if name not in arrays or _hash(arrays[name]) != digest:
            raise InputError(
                f"{broken}: the array {name!r} has changed since it was written; copy it again or refit"
            )
    return header, arrays


def _assemble(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Potential:
    record = header["record"]
    terms = range(len(record["kernel"]["terms"]))
    projections = {i: arrays[f"projection.{i}"] for i in terms if f"projection.{i}" in arrays}
    kernel = from_spec(record["kernel"], projections)
    if record["method"] == "sparse":
        model: SparseModel | ExactModel = _sparse(arrays, len(kernel.terms))
    else:
        model = _exact(arrays)
    levels, more = record["noise"], header["noise"]
    groups, factors = (
        tuple((g, tuple((n, float(v)) for n, v in of)) for g, of in more.get(key, ())) for key in ("groups", "factors")
    )
    noise = Noise(
        levels["energy"], levels["forces"], levels["stress"],
        float(more["energy_exponent"]), float(more["isolated_energy"]), groups,
        None if more.get("reported") is None else tuple(more["reported"]), factors,
    )  # fmt: skip
    ref = record["reference"]
    bound = ref.get("cohesion")
    reference = EnergyReference(
        tuple(ref["numbers"]), np.array(ref["values"], dtype=float), ref["origin"], ref["note"],
        None if bound is None else np.array(bound, dtype=float),
    )  # fmt: skip
    centres = model.centres(kernel)
    # Weights of a draw from the posterior differ from the mean's.
    centres = eqx.tree_at(lambda c: c.values, centres, jnp.asarray(arrays["centres.values"]))
    described = header.get("calibration")
    calibration = None if described is None else unpack(described, arrays)
    repulsion = None
    if "repulsion.outer" in arrays:
        repulsion = Repulsion(*(jnp.asarray(arrays[f"repulsion.{name}"]) for name in RADII))
    cohesion = None
    if "cohesion.cohesive" in arrays:
        cohesion = Cohesion(*(jnp.asarray(arrays[f"cohesion.{name}"]) for name in BONDS))
    energy, forces, stress = (float(factor) for factor in header.get("spread", OWN))
    spread = energy, forces, stress
    return Potential(kernel, model, centres, reference, noise, record, calibration, repulsion, cohesion, spread)


def _sparse(arrays: dict[str, np.ndarray], n_terms: int) -> SparseModel:
    features = tuple(jnp.asarray(arrays[f"features.{i}"]) for i in range(n_terms))
    posterior = _mixture(arrays) or SparsePosterior(*(jnp.asarray(arrays[n]) for n in SPARSE))
    refined = None
    if "refined.species" in arrays:
        mean, gradients = (
            tuple(jnp.asarray(arrays[f"refined.{part}.{i}"]) for i in range(n_terms))
            for part in ("features", "gradients")
        )
        values = jnp.asarray(arrays["centres.values"])
        refined = Centres(mean, jnp.asarray(arrays["refined.species"]), values, gradients)
    draws = None
    if "draws.values" in arrays:
        values, kinds, weights = (jnp.asarray(arrays[f"draws.{name}"]) for name in DRAWN)
        vectors, slopes = (
            tuple(jnp.asarray(arrays[f"draws.{part}.{i}"]) for i in range(n_terms))
            for part in ("features", "gradients")
        )
        draws = Draws(values, slopes, vectors, kinds, weights)
    return SparseModel(Environments(features, jnp.asarray(arrays["species"])), posterior, refined, draws)


def _exact(arrays: dict[str, np.ndarray]) -> ExactModel:
    sizes = arrays["sizes"]
    edges = np.concatenate([[0], np.cumsum(sizes)])
    structures = tuple(
        Structure(
            arrays["positions"][a:b], arrays["numbers"][a:b], arrays["cells"][k],
            tuple(bool(x) for x in arrays["pbc"][k]),
        )
        for k, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True))
    )  # fmt: skip
    places = tuple(np.split(arrays["places"], np.cumsum(arrays["counts"])[:-1]))
    posterior = _mixture(arrays)
    if posterior is None:
        cholesky = Cholesky(jnp.asarray(arrays["lower"]), float(arrays["jitter"]))
        posterior = ExactPosterior(
            cholesky, jnp.asarray(arrays["coefficients"]), jnp.asarray(arrays["targets"])
        )
    return ExactModel(structures, places, posterior)


def _mixture(arrays: dict[str, np.ndarray]) -> Mixture | None:
    return Mixture(*(jnp.asarray(arrays[n]) for n in MIXED)) if "between" in arrays else None


def _hash(array: np.ndarray) -> str:
    text = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(text + np.ascontiguousarray(array).tobytes()).hexdigest()
