"""Large matrix products, on whatever multiplies fastest."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray


def multiply(
    a: Float[AnyArray, "_ _"], b: Float[AnyArray, "_ n"], transpose: bool = False
) -> Float[AnyArray, "rows n"]:
    """A @ b, or aᵀ @ b with `transpose`.

    On a CPU, outside any transformation, the product is NumPy's: XLA's own float64 product is up to three
    times slower there (JAX 0.9; NumPy's BLAS is the vendor's or OpenBLAS).  Inside `jit`, `grad` or `vmap`, and
    on other devices, it is JAX's.
    """
    concrete = not (isinstance(a, Tracer) or isinstance(b, Tracer))
    if concrete and all(d.platform == "cpu" for d in a.devices()):
        left = np.asarray(a).T if transpose else np.asarray(a)
        return jnp.asarray(left @ np.asarray(b))
    return (a.T if transpose else a) @ b
