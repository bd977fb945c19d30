"""The search finds maxima, keeps its bounds, and is the same every time."""

import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.gp.maximise import Range, maximise

WIDE = Range(1.0, 1e-4, 1e4)


def valley(x):
    """A bent valley in the logarithms, with its top at a = 2, b = 4."""
    a, b = x["a"] - jnp.log(2.0), x["b"] - jnp.log(4.0)
    return -(a**2) - 20.0 * (b - a - a**2) ** 2


def test_the_top_is_found():
    found, value = maximise(valley, {"a": WIDE, "b": WIDE}, 100, 1e-10)
    assert found["a"] == pytest.approx(2.0, rel=1e-3)
    assert found["b"] == pytest.approx(4.0, rel=1e-3)
    assert value == pytest.approx(0.0, abs=1e-5)


def test_bounds_hold_where_the_function_only_grows():
    found, _ = maximise(lambda x: 10.0 * x["a"], {"a": Range(1.0, 0.5, 3.0)}, 100)
    assert 2.9 < found["a"] <= 3.0


def test_a_prior_stays_where_its_middle_is():
    """Wherever the search begins."""
    for start in (0.1, 5.0):
        found, _ = maximise(lambda x: 0.0 * x["a"], {"a": Range(start, 1e-3, 1e3, 0.5, middle=2.0)}, 100, 1e-12)
        assert found["a"] == pytest.approx(2.0, rel=1e-3)


def test_a_prior_holds_what_the_data_leave_open():
    found, value = maximise(lambda x: 1.0 * x["a"], {"a": Range(2.0, 1e-3, 1e3, prior=0.5)}, 100, 1e-10)
    # The slope 1 against (y − ln 2)²/2·0.5²: a quarter above, in the logarithm.
    assert found["a"] == pytest.approx(2.0 * np.exp(0.25), rel=1e-3)
    assert value == pytest.approx(np.log(found["a"]), rel=1e-6)  # without the prior


def test_what_is_not_finite_is_stepped_back_from():
    def cliff(x):
        return jnp.where(x["a"] > 0.7, jnp.nan, -((x["a"] - 0.6) ** 2))

    found, value = maximise(cliff, {"a": WIDE}, 100, 1e-12)
    assert np.isfinite(value)
    assert np.log(found["a"]) == pytest.approx(0.6, abs=0.05)


def two_tops(x):
    """A low one at 1, where a search from 1 stays, and a high one near 100."""
    a = x["a"]
    return jnp.exp(-0.5 * a**2) + 3.0 * jnp.exp(-0.5 * ((a - jnp.log(100.0)) / 0.7) ** 2)


@pytest.mark.parametrize("prior", [np.inf, 4.0])
def test_further_searches_find_a_higher_top(prior):
    here = {"a": Range(1.1, 1e-4, 1e4, prior)}
    found, value = maximise(two_tops, here, 60, 1e-10)
    assert value == pytest.approx(1.0, abs=1e-2)
    found, value = maximise(two_tops, here, 60, 1e-10, restarts=6)
    assert value == pytest.approx(3.0, abs=1e-2)
    assert found["a"] == pytest.approx(100.0, rel=0.3)
    assert maximise(two_tops, here, 60, 1e-10, restarts=6) == (found, value)


def test_further_searches_lose_nothing():
    """What is not finite, or lower, does not take the place of what the first one found."""

    def hill(x):
        return jnp.where(x["a"] > 1.0, jnp.nan, -((x["a"] - 0.5) ** 2))

    one = maximise(hill, {"a": Range(1.2, 1e-4, 1e4)}, 60, 1e-10)
    seen = []
    more = maximise(hill, {"a": Range(1.2, 1e-4, 1e4)}, 60, 1e-10, lambda done, total: seen.append((done, total)), 3, 5)
    assert more[0]["a"] == pytest.approx(one[0]["a"], rel=1e-4)
    assert seen[-1] == (240, 240)
    assert seen == sorted(seen)


def test_two_runs_are_one():
    one = maximise(valley, {"a": WIDE, "b": WIDE}, 30)
    assert one == maximise(valley, {"a": WIDE, "b": WIDE}, 30)


def test_no_more_evaluations_than_allowed():
    seen = []
    maximise(valley, {"a": WIDE, "b": WIDE}, 5, callback=lambda done, total: seen.append(done))
    assert max(seen) <= 5


def test_nothing_to_search_returns_the_value():
    assert maximise(lambda x: jnp.asarray(3.0), {}) == ({}, 3.0)
