"""Work on large matrices, on whatever does it fastest.

On a CPU, outside any transformation, that is NumPy: XLA's own float64 product is up to three times slower there
(JAX 0.9).  Inside `jit`, `grad` or `vmap`, and on other devices, it is JAX.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.core import Tracer
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.devices import on_cpu


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


def triangle(a: Float[AnyArray, "rows columns"]) -> Float[np.ndarray, "_ columns"]:
    """Triangular factor R of a = QR."""
    return np.asarray(np.linalg.qr(np.asarray(a), mode="r") if on_cpu() else _triangle(jnp.asarray(a)))


def symmetric_eigen(a: Float[AnyArray, "n n"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
    """Eigenvalues of a symmetric matrix, ascending, and eigenvectors as columns."""
    values, vectors = scipy.linalg.eigh(np.asarray(a)) if on_cpu() else _symmetric_eigen(jnp.asarray(a))
    return np.asarray(values), np.asarray(vectors)


_triangle = jax.jit(lambda a: jnp.linalg.qr(a, mode="r"))
_symmetric_eigen = jax.jit(jnp.linalg.eigh)
