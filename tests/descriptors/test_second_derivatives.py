"""SOAP to second order in the place of one neighbour, where places are special."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.systems import SILICON, quick_jit, small_soap

PLACES = {
    "none": None,
    "on the z axis": (0.0, 0.0, 2.0),
    "on the negative z axis": (0.0, 0.0, -2.0),
    "on the x axis": (1.5, 0.0, 0.0),
    "where fading begins": (0.0, 1.8, 2.4),
    "at the cutoff": (2.1, 0.0, 2.8),
    "at the cutoff, on the z axis": (0.0, 0.0, 3.5),
    "beyond the cutoff": (0.0, 3.0, 3.0),
    "coincident": (0.0, 0.0, 0.0),
}
SOAP = small_soap(SILICON, cutoff_width=0.5)
COMPANION = jnp.array([0.9, -0.7, 1.1])


def vector(r, present):
    """Features of an atom with a companion and, if present, a neighbour at r."""
    displacements = jnp.stack([r, COMPANION], 1)[:, :, None]
    mask = jnp.stack([present, jnp.array(True)])[:, None]
    return SOAP(displacements, mask, jnp.zeros(1, int), (2,))[:, 0]


@quick_jit
def _derivatives(r, present):
    slope = jax.jacfwd(vector)
    return vector(r, present), slope(r, present), jax.jacfwd(slope)(r, present)


def derivatives(place):
    """Return value, slope and curvature at a place, as NumPy arrays."""
    r = jnp.ones(3) if place is None else jnp.asarray(place, float)
    return [np.asarray(part) for part in _derivatives(r, jnp.array(place is not None))]


@pytest.mark.parametrize("name", PLACES)
def test_finite_everywhere(name):
    for part in derivatives(PLACES[name]):
        assert np.isfinite(part).all()


@pytest.mark.parametrize("name", ["none", "at the cutoff", "beyond the cutoff"])
def test_nothing_is_felt_of_a_neighbour_that_is_not_there(name):
    _, slope, curvature = derivatives(PLACES[name])
    # A rounding of the distance, 1e-15 Å, leaves a curvature of 60 × 1e-15/w³ = 5e-13.
    np.testing.assert_allclose(slope, 0.0, atol=1e-12)
    np.testing.assert_allclose(curvature, 0.0, atol=1e-12)


@pytest.mark.parametrize("name", [p for p in PLACES if p not in ("none", "coincident")])
def test_curvature_equals_finite_differences_of_the_slope(name):
    r, h = np.array(PLACES[name]), 1e-5
    curvature = derivatives(r)[2]
    for x in range(3):
        step = h * np.eye(3)[x]
        expected = (derivatives(r + step)[1] - derivatives(r - step)[1]) / (2 * h)
        # Where the pieces of the cutoff function meet w''' jumps by 60/w³ = 480/Å³: half a step
        # of it; elsewhere the error is below 1e-8.
        meeting = "cutoff" in name or "fading" in name
        np.testing.assert_allclose(curvature[:, :, x], expected, atol=3e-3 if meeting else 1e-7)


@pytest.mark.parametrize("radius", [3.0, 3.5], ids=["where fading begins", "at the cutoff"])
def test_smooth_across_the_cutoff_to_second_order(radius):
    direction = np.array([0.6, 0.0, 0.8])
    inside, outside = (derivatives((radius + x) * direction) for x in (-1e-6, 1e-6))
    for a, b in zip(inside, outside, strict=True):
        # Twice the step times the third derivative, at most 480/Å³.
        np.testing.assert_allclose(a, b, atol=1e-3)
