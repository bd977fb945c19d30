"""The cutoff function and the radial weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.descriptors.cutoff import radial_weight, smooth_cutoff

CUTOFF, WIDTH = 4.0, 0.8


def value(r):
    return smooth_cutoff(jnp.asarray(r), CUTOFF, WIDTH)


slope = jax.grad(value)
curvature = jax.grad(slope)


@pytest.mark.parametrize(("end", "expected"), [(CUTOFF - WIDTH, 1.0), (CUTOFF, 0.0)])
def test_twice_continuously_differentiable_at_both_ends(end, expected):
    # The third derivative is 60/w³ at the ends, so 1e-6 Å away w'' is 1.2e-4/Å², w' 1e-10/Å.
    for r in (end - 1e-6, end, end + 1e-6):
        assert value(r) == pytest.approx(expected, abs=1e-15)
        assert abs(slope(r)) < 1e-9
        assert abs(curvature(r)) < 2e-4


def test_falls_from_one_to_zero():
    r = jnp.linspace(0.0, 5.0, 501)
    w = np.asarray(value(r))
    assert (np.diff(w) <= 1e-15).all()  # one rounding
    assert (w[r <= CUTOFF - WIDTH] == 1.0).all()
    assert (w[r >= CUTOFF] == 0.0).all()
    assert value(CUTOFF - WIDTH / 2) == pytest.approx(0.5, abs=1e-15)


def test_differentiable_by_cutoff_and_width():
    # Central differences of step 1e-5: error h² f''' / 6 ~ 1e-8.
    h = 1e-5
    r = jnp.array(3.7)
    gradient = jax.grad(smooth_cutoff, argnums=(1, 2))(r, CUTOFF, WIDTH)
    by_cutoff = (smooth_cutoff(r, CUTOFF + h, WIDTH) - smooth_cutoff(r, CUTOFF - h, WIDTH)) / 2
    by_width = (smooth_cutoff(r, CUTOFF, WIDTH + h) - smooth_cutoff(r, CUTOFF, WIDTH - h)) / 2
    assert gradient[0] == pytest.approx(float(by_cutoff) / h, abs=1e-7)
    assert gradient[1] == pytest.approx(float(by_width) / h, abs=1e-7)


def test_radial_weight_is_one_at_the_centre_and_half_at_its_scale():
    assert radial_weight(jnp.array(0.0), 3.0, 4.0) == 1.0
    assert radial_weight(jnp.array(3.0), 3.0, 4.0) == 0.5
    assert jax.grad(jax.grad(radial_weight))(jnp.array(0.0), 3.0, 4.0) == 0.0
