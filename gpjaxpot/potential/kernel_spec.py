"""Kernels as plain data: what a model file keeps of them, and back."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from gpjaxpot.arrays import AnyArray
from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.errors import InputError
from gpjaxpot.kernels import (
    AbstractKernel,
    DotPower,
    EnergyKernel,
    Matern52,
    Product,
    Scaled,
    SquaredExponential,
    Sum,
    Term,
)


def to_spec(kernel: EnergyKernel) -> dict[str, Any]:
    """Describe a kernel with its descriptors in JSON's types; of projections only how many components they keep.

    Raises:
        InputError: for a function of the user's own, which a file without code cannot hold.
    """
    similarity = kernel.similarity
    return {
        "species": list(kernel.species),
        "similarity": None if similarity is None else np.asarray(similarity).tolist(),
        "terms": [
            {"descriptor": _descriptor_spec(t.descriptor), "kernel": _kernel_spec(t.kernel)}
            for t in kernel.terms
        ],
    }


def from_spec(spec: dict[str, Any], projections: dict[int, AnyArray] | None = None) -> EnergyKernel:
    """Make the kernel that `to_spec` described, with the projections of its descriptors, by their places."""
    species = tuple(spec["species"])
    given = {} if projections is None else projections
    terms = tuple(
        Term(_descriptor(t["descriptor"], species, given.get(i)), _kernel(t["kernel"]))
        for i, t in enumerate(spec["terms"])
    )
    similarity = spec["similarity"]
    return EnergyKernel(terms, None if similarity is None else jnp.asarray(similarity))


def _descriptor_spec(soap: SOAP) -> dict[str, Any]:
    scale = soap.radial_scale
    return {
        "type": "soap",
        "cutoff": float(soap.cutoff),
        "n_max": soap.n_max,
        "l_max": soap.l_max,
        "sigma": float(soap.sigma),
        "cutoff_width": float(soap.cutoff_width),
        "radial_scale": None if scale is None else float(scale),
        "radial_exponent": float(soap.radial_exponent),
        "dscribe": soap.dscribe,
        **({} if soap.projection is None else {"features": soap.n_features}),
    }


def _descriptor(spec: dict[str, Any], species: tuple[int, ...], projection: AnyArray | None) -> SOAP:
    settings = dict(spec)
    kept = settings.pop("features", None)
    if kept != (None if projection is None else projection.shape[2]):
        raise InputError(f"the projection of a descriptor on {kept} components is missing or has another shape")
    if settings.pop("type") != "soap":
        raise InputError(f"unknown descriptor {spec['type']!r}: the model is of a newer version")
    return SOAP(**settings, species=species, projection=projection)


def _kernel_spec(kernel: AbstractKernel) -> dict[str, Any]:
    match kernel:
        case DotPower():
            return {"type": "dot_power", "zeta": kernel.zeta}
        case SquaredExponential():
            return {"type": "squared_exponential", "length_scale": float(kernel.length_scale)}
        case Matern52():
            return {"type": "matern52", "length_scale": float(kernel.length_scale)}
        case Scaled():
            inner = _kernel_spec(kernel.kernel)
            return {"type": "scaled", "variance": float(kernel.variance), "kernel": inner}
        case Sum():
            return {"type": "sum", "kernels": [_kernel_spec(k) for k in kernel.kernels]}
        case Product():
            return {"type": "product", "kernels": [_kernel_spec(k) for k in kernel.kernels]}
    raise InputError(
        f"a {type(kernel).__name__} cannot be stored: a model file holds no code; keep the script that fits it"
    )


def _kernel(spec: dict[str, Any]) -> AbstractKernel:
    match spec["type"]:
        case "dot_power":
            return DotPower(spec["zeta"])
        case "squared_exponential":
            return SquaredExponential(spec["length_scale"])
        case "matern52":
            return Matern52(spec["length_scale"])
        case "scaled":
            return Scaled(_kernel(spec["kernel"]), spec["variance"])
        case "sum":
            return Sum(tuple(_kernel(k) for k in spec["kernels"]))
        case "product":
            return Product(tuple(_kernel(k) for k in spec["kernels"]))
    raise InputError(f"unknown kernel {spec['type']!r}: the model is of a newer version")
