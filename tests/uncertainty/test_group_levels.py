"""What share of a new group's points a conformal quantile holds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpjaxpot.uncertainty import QuantileFunction, conformal_quantile, group_weights
from gpjaxpot.uncertainty import group_levels as module
from gpjaxpot.uncertainty.group_levels import held_shares


def grouped(generator, groups: int, points: int, spread: float):
    """Scores of groups whose scales differ, and their groups."""
    scale = np.exp(spread * generator.normal(size=groups))
    return (np.abs(generator.normal(size=(groups, points))) * scale[:, None]).ravel(), np.repeat(
        np.arange(groups), points
    )


def test_single_points_hold_exactly_their_level():
    """The order statistic of rank k of n has the level k/(n + 1), whatever is left out."""
    scores = np.abs(np.random.default_rng(0).normal(size=40))
    levels = np.arange(1, 41) / 41
    assert_allclose(held_shares(scores, np.arange(40), levels), levels, rtol=1e-12)


def test_groups_of_equal_points_are_single_points():
    scores = np.repeat(np.abs(np.random.default_rng(1).normal(size=15)), 6)
    levels = np.arange(1, 16) / 16
    assert_allclose(held_shares(scores, np.repeat(np.arange(15), 6), levels), levels, rtol=1e-12)


def test_shares_are_those_of_groups_left_out_one_by_one():
    """Against the definition: quantiles of the other groups, counted point by point."""
    generator = np.random.default_rng(2)
    place = np.repeat(np.arange(9), generator.integers(3, 30, 9))
    scores = np.abs(generator.normal(size=len(place))) * (1.0 + 0.1 * place)
    levels = np.linspace(0.05, 0.85, 17)
    expected = []
    for level in levels:
        excess = 0.0
        for g in range(9):
            others, own = scores[place != g], scores[place == g]
            new = len(others) / 8
            quantile = conformal_quantile(others, float(level), np.ones(len(others)), new)
            stands = np.sum(others <= quantile) / (len(others) + new)
            excess += len(own) / len(scores) * (np.mean(own <= quantile) - stands)
        expected.append(max(level + excess, level))
    assert_allclose(held_shares(scores, place, levels), np.maximum.accumulate(expected), rtol=1e-12)


def test_one_group_tells_nothing():
    levels = np.array([0.2, 0.4])
    assert_allclose(held_shares(np.ones(5), np.zeros(5, int), levels), levels)


@pytest.mark.parametrize("spread", [0.1, 0.5])
def test_new_groups_hold_what_is_promised_and_not_more(spread):
    """Of 25 groups conformal quantiles hold 3 to 4 points more than 90 %, these 90."""
    generator = np.random.default_rng(3)
    new = np.sort(grouped(generator, 4000, 20, spread)[0])
    found: dict[str, list[float]] = {"plain": [], "left out": []}
    for _ in range(60):
        scores, groups = grouped(generator, 25, 60, spread)
        made = {
            "plain": QuantileFunction.from_scores(scores, *group_weights(groups, by="point")),
            "left out": QuantileFunction.from_groups(scores, groups),
        }
        for name, quantiles in made.items():
            found[name].append(np.searchsorted(new, quantiles.width(0.9), side="right") / len(new))
    assert_allclose(np.mean(found["left out"]), 0.9, atol=0.006)
    assert np.mean(found["plain"]) > 0.92


def test_its_levels_ascend_to_the_same_limit_and_never_widen():
    scores, groups = grouped(np.random.default_rng(4), 30, 50, 0.4)
    plain = QuantileFunction.from_scores(scores, *group_weights(groups, by="point"))
    made = QuantileFunction.from_groups(scores, groups)
    assert made.limit == plain.limit
    assert np.all(np.diff(made.levels) > 0)
    assert np.all(np.diff(made.widths) >= 0)
    for level in (0.1, 0.5, 0.9, 0.95, made.limit):
        assert made.width(level) <= plain.width(level)
    assert not made.supports(0.98)


def test_of_many_groups_some_are_left_out(monkeypatch):
    scores, groups = grouped(np.random.default_rng(5), 60, 40, 0.4)
    levels = np.linspace(0.1, 0.9, 9)
    everything = held_shares(scores, groups, levels)
    monkeypatch.setattr(module, "MOST", 20)
    some = held_shares(scores, groups, levels)
    assert not np.array_equal(some, everything)
    assert_allclose(some, everything, atol=0.03)
