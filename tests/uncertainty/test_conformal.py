"""Conformal quantiles against the order statistics, their Beta law, other programs, and the traps of spec A9."""

import math

import numpy as np
import pytest
from crepes import ConformalRegressor
from numpy.testing import assert_allclose
from scipy import stats

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty.conformal import (
    conformal_quantile,
    conformal_rank,
    group_weights,
    highest_level,
    mondrian_quantiles,
)

AT8 = np.array([0.62, 1.91, 1.13, 0.87, 2.45, 1.52, 0.33, 1.77, 1.05])


@pytest.mark.parametrize(
    ("count", "level", "rank"),
    [(9, 0.9, 9), (8, 0.9, None), (19, 0.95, 19), (18, 0.95, None), (99, 0.9, 90), (100, 0.9, 91), (500, 0.95, 476),
     (1000, 0.9, 901)],
)  # fmt: skip
def test_ranks_of_the_specification(count, level, rank):
    assert conformal_rank(count, level) == rank
    scores = np.random.default_rng(0).permutation(np.arange(1.0, count + 1.0))
    assert conformal_quantile(scores, level) == (math.inf if rank is None else rank)


def test_quantiles_of_the_specification():
    for level, expected in [(0.9, 2.45), (0.8, 1.91), (0.5, 1.13)]:
        assert conformal_quantile(AT8, level) == expected
    # The popular recipe takes the next one, and interpolation covers too little.
    assert np.quantile(AT8, math.ceil(10 * 0.8) / 9, method="higher") == 2.45
    assert np.quantile(AT8, 0.8, method="linear") < conformal_quantile(AT8, 0.8)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_crepes_finds_the_same_intervals(level):
    generator = np.random.default_rng(1)
    residuals, sigma = generator.normal(size=57), generator.uniform(0.5, 2.0, 57)
    judge = ConformalRegressor()
    judge.fit(residuals, sigmas=sigma)
    low, high = judge.predict_int(np.zeros(1), sigmas=np.ones(1), confidence=level)[0]
    ours = conformal_quantile(np.abs(residuals) / sigma, level)
    assert_allclose([low, high], [-ours, ours], rtol=1e-12)


def test_coverage_follows_its_beta_law():
    """Given the calibration points, the coverage of new ones is Beta(k, n + 1 − k): not the level exactly."""
    generator, n, level = np.random.default_rng(2), 19, 0.9
    quantiles = np.array([conformal_quantile(np.abs(generator.normal(size=n)), level) for _ in range(3000)])
    covered = 2.0 * stats.norm.cdf(quantiles) - 1.0
    rank = conformal_rank(n, level)
    law = stats.beta(rank, n + 1 - rank)
    assert_allclose(law.mean(), 0.9, atol=1e-12)
    assert_allclose(law.std(), 0.0655, atol=1e-4)
    assert stats.kstest(covered, law.cdf).pvalue > 1e-3
    assert stats.kstest(covered, stats.beta(rank + 1, n - rank).cdf).pvalue < 1e-6


def test_one_point_of_a_new_group_is_covered():
    """Errors of a group go together: counting points promises too much, counting groups does not."""
    generator, level, inside, pooled = np.random.default_rng(3), 0.9, [], []
    for _ in range(1500):
        sizes = generator.integers(1, 40, 20)
        groups = np.repeat(np.arange(20), sizes)
        spread = np.exp(0.8 * generator.normal(size=21))
        scores = spread[groups] * np.abs(generator.normal(size=len(groups)))
        new = spread[20] * abs(generator.normal())
        inside.append(new <= conformal_quantile(scores, level, *group_weights(groups)))
        pooled.append(new <= conformal_quantile(scores, level))
    error = math.sqrt(level * (1 - level) / 1500)
    assert np.mean(inside) >= level - 3 * error
    assert np.mean(inside) <= 0.96
    assert np.mean(pooled) < np.mean(inside)


def test_weights_of_covariate_shift_restore_coverage():
    generator, level = np.random.default_rng(4), 0.8
    x = generator.uniform(0, 1, 200_000)
    scores = np.abs(generator.normal(size=len(x))) * (1 + 3 * x)
    density = 2 * x  # of new points, which are found at large x
    plain = conformal_quantile(scores, level)
    shifted = conformal_quantile(scores, level, density, 2.0)
    x_new = np.sqrt(generator.uniform(0, 1, 200_000))
    new = np.abs(generator.normal(size=len(x_new))) * (1 + 3 * x_new)
    assert_allclose(np.mean(new <= shifted), level, atol=0.005)
    assert np.mean(new <= plain) < level - 0.04


def test_equal_weights_are_no_weights():
    scores = np.random.default_rng(5).uniform(size=37)
    for level in (0.1, 0.5, 0.9, 0.97):
        assert conformal_quantile(scores, level, np.full(37, 0.3), 0.3) == conformal_quantile(scores, level)


def test_classes_have_their_own_quantiles_and_too_few_points_none():
    generator = np.random.default_rng(6)
    classes = np.array(["Si"] * 500 + ["O"] * 500 + ["H"] * 3)
    scores = np.abs(generator.normal(size=1003)) * np.where(classes == "O", 3.0, 1.0)
    found = mondrian_quantiles(scores, classes, 0.9)
    for name in ("Si", "O"):
        assert found[name] == conformal_quantile(scores[classes == name], 0.9)
    assert found["O"] > 2 * found["Si"]
    assert found["H"] == math.inf


def test_classes_count_the_points_of_their_own_structures():
    """Of each water molecule one oxygen and two hydrogens: neither class is a third of the other's weight."""
    generator = np.random.default_rng(8)
    classes, groups = np.tile(["O", "H", "H"], 20), np.repeat(np.arange(20), 3)
    scores = np.abs(generator.normal(size=60))
    found = mondrian_quantiles(scores, classes, 0.9, groups)
    assert found["O"] == conformal_quantile(scores[classes == "O"], 0.9)
    hydrogen = classes == "H"
    assert found["H"] == conformal_quantile(scores[hydrogen], 0.9, *group_weights(groups[hydrogen]))


def test_the_scale_of_weights_does_not_matter_and_groups_may_be_named_by_anything():
    scores = np.arange(1.0, 101.0)
    for scale in (1e-12, 1.0, 1e9):
        assert conformal_quantile(scores, 0.9, np.full(100, scale), scale) == 91.0
    assert conformal_quantile(np.zeros(0), 0.9, np.zeros(0), 0.0) == math.inf
    weights, new = group_weights([("a", 1), ("a", 2), ("a", 1), None])
    assert_allclose(weights, [0.5, 1.0, 0.5, 1.0])
    assert new == 1.0


def test_the_highest_level_has_a_quantile_and_the_next_has_none():
    scores = np.arange(1.0, 20.0)
    top = highest_level(scores)
    assert_allclose(top, 0.95)
    assert conformal_quantile(scores, top) == 19.0
    assert conformal_quantile(scores, top + 1e-6) == math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((AT8, 1.0), "between 0 and 1"),
        ((AT8, 0.9, np.ones(3)), "as many as the scores"),
        ((AT8, 0.9, -np.ones(9)), "not negative"),
        ((np.array([1.0, np.nan]), 0.5), "NaN"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        conformal_quantile(*arguments)


def test_bad_groups_are_named():
    with pytest.raises(InputError, match="at least one score"):
        group_weights([])
    with pytest.raises(InputError, match="group"):
        group_weights([1], by="atom")
