"""Quantile functions: a Gaussian's against the closed forms, an empirical one's against simulation and quadrature."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, special, stats

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty import scores
from gpjaxpot.uncertainty.conformal import conformal_quantile, group_weights
from gpjaxpot.uncertainty.distribution_scores import distribution_scores
from gpjaxpot.uncertainty.quantile_function import ONE_SIGMA, QuantileFunction

Z = np.array([0.0, 0.4, -1.1, 2.5, -3.9])


@pytest.fixture(scope="module")
def heavy():
    """Scores of Student's t with four degrees of freedom: no Gaussian."""
    return np.abs(stats.t(4).rvs(20_000, random_state=0))


@pytest.fixture(scope="module")
def empirical(heavy):
    return QuantileFunction.from_scores(heavy)


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_a_gaussian_has_its_closed_forms(scale):
    made = QuantileFunction.gaussian(scale)
    std = np.full(len(Z), scale)
    zero = np.zeros(len(Z))
    assert_allclose(made.sigma, scale, rtol=1e-12)
    assert_allclose(made.width(0.9), scale * special.ndtri(0.95), rtol=1e-9)
    assert_allclose(made.pit(Z), scores.pit(zero, std, Z), atol=5e-5)
    assert_allclose(np.mean(made.crps(Z)), scores.crps(zero, std, Z), rtol=1e-4)
    assert_allclose(-np.mean(made.log_density(Z)), scores.nll(zero, std, Z), rtol=1e-4)


@pytest.mark.parametrize(
    ("directions", "level", "width"),
    [(1, 0.5, 0.6744897502), (3, 0.5, 1.5381722545), (3, 0.68, 1.8724), (3, 0.9, 2.5003), (3, 0.95, 2.7955)],
)
def test_lengths_of_vectors_have_more_directions(directions, level, width):
    """Quantiles of |N(0, 1)| and of χ with three degrees of freedom, to as many digits as are given."""
    found = QuantileFunction.gaussian(1.0, directions=directions).width(level)
    assert_allclose(found, width, atol=1e-9 if level == 0.5 else 5e-5)
    assert_allclose(found, stats.chi(directions).ppf(level), rtol=1e-9)
    # As many lengths of vectors lie within it.
    lengths = stats.chi(directions).ppf((np.arange(4000) + 0.5) / 4000)
    assert_allclose(QuantileFunction.from_scores(lengths).width(level), found, rtol=2e-3)


def test_widths_are_the_order_statistics(heavy, empirical):
    for level in (0.5, 0.68, ONE_SIGMA, 0.9, 0.95):
        assert empirical.width(level) == conformal_quantile(heavy, level)
    # Between the levels that are kept, the next wider one: never too narrow, and as exact where few are left out.
    for level in (0.995, 0.999, 0.9997):
        exact, wider = (conformal_quantile(heavy, p) for p in (level, 0.5 * (1.0 + level)))
        assert exact <= empirical.width(level) <= wider
    for level in (0.123, 0.777, 0.931):
        assert empirical.width(level) >= conformal_quantile(heavy, level)
        assert empirical.width(level) <= conformal_quantile(heavy, level + 0.004)


def test_the_score_of_the_whole_distribution_is_its_integral(empirical):
    """∫(F − 1{x ≥ z})² dx, by quadrature of the function that `pit` gives."""
    for z in (0.0, 0.7, -2.2):
        below, above = np.linspace(-60.0, z, 200_001), np.linspace(z, 60.0, 200_001)
        total = integrate.trapezoid(empirical.pit(below) ** 2, below)
        total += integrate.trapezoid((1.0 - empirical.pit(above)) ** 2, above)
        assert_allclose(empirical.crps(np.array([z]))[0], total, rtol=1e-4)


def test_every_order_statistic_of_few_points_is_exact():
    generator = np.random.default_rng(7)
    scores, groups = np.abs(generator.normal(size=150)), np.repeat(np.arange(30), 5)
    for weighted in ((None, 1.0), group_weights(groups), group_weights(groups, by="point")):
        made = QuantileFunction.from_scores(scores, *weighted)
        for level in generator.uniform(0.01, made.limit, 100):
            assert made.width(level) == conformal_quantile(scores, level, *weighted)


def test_infinite_scores_bound_the_level():
    made = QuantileFunction.from_scores(np.append(np.ones(50), np.full(49, np.inf)))
    assert made.supports(0.5)
    assert not made.supports(0.9)
    with pytest.raises(InputError, match="weight of a new point"):
        QuantileFunction.from_scores(np.ones(3), np.ones(3), 0.0)


def test_errors_of_nothing_have_no_density():
    found = distribution_scores(np.ones(5), np.ones(5), QuantileFunction.from_scores(np.zeros(20)))
    assert found["nll"] is None
    assert found["z_variance"] is None
    assert found["coverage"]["0.9"] == 0.0


def test_its_density_is_one_in_all_and_near_the_true_one(empirical):
    x = np.linspace(-40, 40, 200_001)
    assert_allclose(integrate.trapezoid(np.exp(empirical.log_density(x)), x), 1.0, atol=2e-3)
    # Close to the density that the scores came from, where there are many of them.
    inside = np.linspace(-3, 3, 61)
    assert_allclose(np.exp(empirical.log_density(inside)), stats.t(4).pdf(inside), rtol=0.12)


def test_new_points_are_uniform_under_it_and_not_under_a_gaussian(empirical):
    new = stats.t(4).rvs(20_000, random_state=1)
    ours = distribution_scores(new, np.ones(len(new)), empirical)
    theirs = distribution_scores(new, np.full(len(new), math.sqrt(2.0)))  # the σ of this distribution
    assert ours["ece"] < 0.01 < theirs["ece"]
    assert ours["nll"] < theirs["nll"]
    assert ours["crps"] < theirs["crps"]
    for level, share in ours["coverage"].items():
        assert_allclose(share, float(level), atol=0.01)
    assert ours["spearman"] is None


def test_a_level_without_enough_groups_is_refused_and_told():
    generator = np.random.default_rng(2)
    groups = np.repeat(np.arange(12), 30)
    made = QuantileFunction.from_scores(np.abs(generator.normal(size=360)), *group_weights(groups))
    assert_allclose(made.limit, 12 / 13)
    assert made.supports(0.9)
    assert math.isfinite(made.width(0.9))
    assert not made.supports(0.95)
    with pytest.raises(InputError, match=r"up to 0.923, not 0.95: .* 19 independent structures, there were 12"):
        made.width(0.95)
    found = distribution_scores(generator.normal(size=50), np.ones(50), made)
    assert found["coverage"]["0.95"] is None
    assert found["coverage"]["0.9"] is not None


def test_few_scores_have_finite_scores_of_anything():
    made = QuantileFunction.from_scores(np.array([0.4, 0.4, 0.4, 1.3, 2.0]))
    for values in (made.pit(Z), made.crps(Z), made.log_density(Z)):
        assert np.all(np.isfinite(values))
    assert np.all(np.diff(made.pit(np.sort(Z))) >= 0)


def test_bad_scores_are_named():
    for bad in (np.zeros(0), np.array([-1.0, 2.0]), np.array([np.nan])):
        with pytest.raises(InputError, match="numbers from zero up"):
            QuantileFunction.from_scores(bad)
    with pytest.raises(InputError, match="between 0 and 1"):
        QuantileFunction.gaussian(1.0).width(1.2)
