"""The arrays that host-side functions take: NumPy's or JAX's."""

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    # The two share all that is used of them, but no type: the run-time checks tell them apart.
    AnyArray = Any
else:
    AnyArray = jax.Array | np.ndarray
