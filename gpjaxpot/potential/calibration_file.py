"""A calibration as named arrays and plain JSON, and back: what a model file holds of it."""

from typing import Any

import equinox as eqx
import numpy as np

from gpjaxpot.errors import InputError
from gpjaxpot.potential.calibration import Calibration, EnvironmentFactor
from gpjaxpot.uncertainty.classes import ByClass, GaussianClasses
from gpjaxpot.uncertainty.conformalised import Conformalised
from gpjaxpot.uncertainty.flexible import Flexible, QuantileNetwork
from gpjaxpot.uncertainty.novelty import Novelty
from gpjaxpot.uncertainty.quantile_function import QuantileFunction
from gpjaxpot.uncertainty.reduction import Reduction
from gpjaxpot.uncertainty.regular import Regular
from gpjaxpot.uncertainty.remoteness import Remoteness

# The only types that a file can ask for: nothing else is ever made from what it says.
_TYPES = {
    kind.__name__: kind
    for kind in (
        ByClass, Calibration, Conformalised, EnvironmentFactor, Flexible, GaussianClasses, Novelty, QuantileFunction,
        QuantileNetwork, Reduction, Regular, Remoteness,
    )
}  # fmt: skip
_ARRAY, _TYPE, _LIST, _NAMED = "array", "type", "list", "named"


def pack(calibration: Calibration, prefix: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A description in plain JSON, and the arrays that it names, each with `prefix`."""
    arrays: dict[str, np.ndarray] = {}
    return _pack(calibration, prefix, arrays), arrays


def unpack(description: Any, arrays: dict[str, np.ndarray]) -> Calibration:
    """The calibration that `pack` described.

    Raises:
        InputError: if it describes something else.
    """
    made = _unpack(description, arrays)
    if not isinstance(made, Calibration):
        raise InputError("the calibration in the file is none: copy it again or calibrate anew")
    return made


def _pack(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, eqx.Module):
        return {
            _TYPE: type(value).__name__,
            _NAMED: {
                field: _pack(getattr(value, field), f"{name}.{field}", arrays) for field in value.__dataclass_fields__
            },
        }
    if hasattr(value, "shape") and not isinstance(value, np.generic):
        arrays[name] = np.array(value, order="C")
        return {_ARRAY: name}
    if isinstance(value, tuple):
        return {_LIST: [_pack(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]}
    if isinstance(value, dict):
        return {_NAMED: {key: _pack(v, f"{name}.{key}", arrays) for key, v in value.items()}}
    # Without a bound it is infinite, which JSON does not know.
    return {"value": "inf" if value == float("inf") else value}


def _unpack(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    if _ARRAY in description:
        return arrays[description[_ARRAY]]
    if _LIST in description:
        return tuple(_unpack(d, arrays) for d in description[_LIST])
    if _NAMED in description:
        named = {key: _unpack(d, arrays) for key, d in description[_NAMED].items()}
        if _TYPE not in description:
            return named
        kind = _TYPES.get(description[_TYPE])
        if kind is None:
            raise InputError(f"a calibration has no part {description[_TYPE]!r}: install a newer gpjaxpot")
        return kind(**named)
    value = description["value"]
    return float("inf") if value == "inf" else value
