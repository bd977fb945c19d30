"""Work on large matrices, on whatever does it fastest.

On a CPU, outside any transformation, that is NumPy: XLA's own float64 product is up to three times slower there
(JAX 0.9), and its transposition eight times.  Inside `jit`, `grad` or `vmap`, and on other devices, it is JAX.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray


def on_host(*arrays: Any) -> bool:
    """Whether all arrays lie in the memory of the CPU and have values."""
    for a in arrays:
        if isinstance(a, Tracer):
            return False
        if not isinstance(a, np.ndarray) and any(d.platform != "cpu" for d in a.devices()):
            return False
    return True


def multiply(a: Float[AnyArray, "rows inner"], b: Float[AnyArray, "inner columns"]) -> Float[AnyArray, "rows columns"]:
    """Product a @ b."""
    if on_host(a, b):
        return jnp.asarray(np.asarray(a) @ np.asarray(b))
    return a @ b


def first_axis_last(a: Float[AnyArray, "first *rest"]) -> Float[AnyArray, "*rest first"]:
    """Copy of `a` with its first axis moved to the end."""
    if on_host(a):
        flat = np.asarray(a).reshape(a.shape[0], -1)
        return np.ascontiguousarray(flat.T).reshape(*a.shape[1:], a.shape[0])
    return jnp.moveaxis(a, 0, -1)
