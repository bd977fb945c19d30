"""The arrays that host-side functions take: NumPy's or JAX's."""

import jax
import numpy as np

AnyArray = jax.Array | np.ndarray
"""Either kind of array, for annotations."""
