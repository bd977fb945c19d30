"""The JAX that is installed computes right: jit, eager execution and NumPy agree.

Some releases return wrong numbers under jit on CPU, silently (jax#39103): a vmapped product of a
constant 3 x 3 matrix and a vector, squared and summed, as in pair lengths from cell shifts, is
wrong in a sixth of all rows once there are more than 16 384 rows in float64 (jax 0.10.2) or
32 768 in float32 (0.9.1 to 0.10.2). pyproject.toml excludes them; this watches whatever is there.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

CELL = np.array([[8, 1, 0], [-2, 7, 3], [1, 0, 9]])


@pytest.mark.parametrize(("dtype", "rows"), [(np.float64, 20_000), (np.float32, 40_000)])
def test_jit_eager_and_numpy_agree_on_many_rows(dtype: type, rows: int) -> None:
    # Small integers: every product and sum is exact in either precision and in any order, so no
    # tolerance is needed and a single wrong row shows.
    shifts = np.random.default_rng(0).integers(-4, 5, size=(rows, 3))
    expected = np.sum((shifts @ CELL.T) ** 2, axis=1)
    cell = jnp.asarray(CELL, dtype)

    def squared_length(shift):
        return jnp.sum((cell @ shift) ** 2)

    points = jnp.asarray(shifts, dtype)
    eager = jax.vmap(squared_length)(points)
    jitted = jax.jit(jax.vmap(squared_length))(points)

    assert jitted.dtype == dtype
    np.testing.assert_array_equal(np.asarray(eager), expected)
    np.testing.assert_array_equal(np.asarray(jitted), expected)
