"""Weights of the points that networks learn a quantile from: what they move, and what they leave alone."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty.conformal import conformal_quantiles
from gpjaxpot.uncertainty.flexible import Flexible, cross_fit

LEVELS = np.array([0.5, 0.9])
FOLDS = 3
# Where networks are looked at, and the quantiles there of scores whose size grows as 2 + x.
PLACES = np.linspace(-0.9, 0.9, 9)
QUANTILES = (2.0 + PLACES[:, None]) * stats.halfnorm.ppf(LEVELS)


def growing(count):
    """Places in (−1, 1) and half-normal scores of size 2 + x: each by quantiles, in an order of their own."""
    x = -1.0 + 2.0 * (np.arange(count) + 0.5) / count
    # Multiples of the golden ratio fill (0, 1) evenly, of any neighbouring places as well.
    return x, (2.0 + x) * stats.halfnorm.ppf((np.arange(1, count + 1) * 0.6180339887498949) % 1.0)


@pytest.fixture(scope="module")
def alike():
    """Points whose features say nothing: half of them have three times the scores."""
    generator = np.random.default_rng(0)
    large = generator.integers(0, 2, 1200) == 1
    return np.abs(generator.normal(size=1200)) * np.where(large, 3.0, 1.0), generator.normal(size=(1200, 2)), large


def test_networks_hold_the_weighted_quantile(alike):
    """Where features say nothing it is one number: the quantile of all weight."""
    scores, features, large = alike
    weights = np.where(large, 1.0, 0.05)
    found = Flexible.fit(scores, features, LEVELS, weights=weights, folds=FOLDS).quantiles(features).mean(0)
    assert_allclose(found, conformal_quantiles(scores, LEVELS, weights, 0.0), rtol=0.06)
    # Without weights it would be that of both halves together.
    assert np.all(found > 1.15 * conformal_quantiles(scores, LEVELS, None, 0.0))


def test_the_scale_of_weights_does_not_matter(alike):
    scores, features, _ = alike
    none, apart = cross_fit(scores, features, LEVELS, folds=FOLDS)
    same, same_apart = cross_fit(scores, features, LEVELS, weights=np.full(len(scores), 8.0), folds=FOLDS)
    # A power of two costs no digit; where programs differ, round-off of some hundred steps.
    assert_allclose(same.quantiles(features), none.quantiles(features), rtol=1e-6)
    assert_allclose(same_apart, apart, rtol=1e-6)


@pytest.mark.parametrize("batch", [4096, 500])
def test_points_without_weight_teach_nothing(batch, monkeypatch):
    """Their scores may be anything: bad labels are taken out by their weights, in whatever batches one learns."""
    monkeypatch.setattr("gpjaxpot.uncertainty.flexible.BATCH", batch)
    x, scores = growing(2000 + batch // 100)  # another number of points is another program
    bad = np.arange(len(x)) % 2 == 1
    weights = np.where(bad, 0.0, 1.0)
    found = [
        cross_fit(np.where(bad, factor * scores, scores), x[:, None], LEVELS, weights=weights, folds=FOLDS)
        for factor in (4.0, 8.0)
    ]
    assert np.array_equal(found[0][1], found[1][1])
    assert_allclose(found[0][0].quantiles(PLACES[:, None]), QUANTILES, rtol=0.15)


@pytest.mark.parametrize("power", [1.0, -1.0])
def test_any_weights_of_the_environment_have_the_same_quantiles(power):
    """They say where a network should be right, not what is right: the least loss is at the conditional quantile.

    Source: Koenker & Bassett, Econometrica 46, 33 (1978); Ho, Ortner & Wang (2026), for a weighted loss.
    """
    x, scores = growing(1600)
    found = Flexible.fit(scores, x[:, None], LEVELS, weights=(2.0 + x) ** power, folds=FOLDS)
    assert_allclose(found.quantiles(PLACES[:, None]), QUANTILES, rtol=0.15)


@pytest.mark.parametrize("first", [-1.0, np.nan, np.inf])
def test_weights_that_are_none_are_refused(first):
    for weights in (np.r_[first, np.ones(29)], np.zeros(30)):
        with pytest.raises(InputError, match="weights must be finite numbers from zero up"):
            cross_fit(np.ones(30), np.zeros((30, 1)), LEVELS, weights=weights, folds=FOLDS)
