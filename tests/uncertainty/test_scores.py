"""Scores against closed forms, against two other programs, and against what makes them proper."""

import math

import numpy as np
import pytest
import uncertainty_toolbox as uct
from numpy.testing import assert_allclose
from scipy import integrate, stats
from sklearn.metrics import roc_auc_score

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty import scores

PIT_VALUES = np.array([0.02, 0.11, 0.18, 0.35, 0.41, 0.56, 0.63, 0.71, 0.88, 0.97])


@pytest.fixture
def points():
    """Four hundred predictions of differing σ, residuals 1.4 times too large."""
    rng = np.random.default_rng(0)
    std = np.exp(rng.normal(-2.0, 0.6, 400))
    mean = rng.normal(size=400)
    return mean, std, mean + 1.4 * std * rng.normal(size=400)


def calibrated_quantiles(ratio, count=20_000):
    """Return predictions of σ = 1 whose residuals are the quantiles of N(0, ratio²)."""
    levels = (np.arange(count) + 0.5) / count
    return np.zeros(count), np.ones(count), ratio * stats.norm.ppf(levels)


@pytest.mark.parametrize(
    ("mean", "std", "truth", "crps", "nll", "pit"),
    [
        (0.0, 1.0, 0.0, 0.2336949773, 0.9189385332, 0.5),
        (0.0, 1.0, 1.0, 0.6024413576, 1.4189385332, 0.8413447461),
        (0.0, 1.0, -2.0, 1.4527918217, 2.9189385332, 0.0227501319),
        (1.0, 0.5, 1.7, 0.4545733509, 1.2057913526, 0.9192433408),
        (-3.2, 0.04, -3.25, 0.0314793661, -1.5186872917, 0.1056497737),
    ],
)
def test_closed_forms_of_one_point(mean, std, truth, crps, nll, pit):
    """Published to ten decimals, hence 5e-10 of rounding (`AT-9` of the specification)."""
    point = np.array([mean]), np.array([std]), np.array([truth])
    assert_allclose(scores.crps(*point), crps, atol=1e-9)
    assert_allclose(scores.nll(*point), nll, atol=1e-9)
    assert_allclose(scores.pit(*point), [pit], atol=1e-9)


def test_crps_is_the_integral_that_defines_it():
    """∫(F(x) − 1{x ≥ y})² dx by quadrature, good to 1e-9 on both sides of the step."""
    mean, std, truth = 0.3, 0.7, 1.1
    cdf = stats.norm(mean, std).cdf
    below = integrate.quad(lambda x: cdf(x) ** 2, -8, truth, epsabs=1e-12)[0]
    above = integrate.quad(lambda x: (1 - cdf(x)) ** 2, truth, 9, epsabs=1e-12)[0]
    actual = scores.crps(np.array([mean]), np.array([std]), np.array([truth]))
    assert_allclose(actual, below + above, atol=1e-9)


def test_crps_tends_to_the_absolute_error_without_spread():
    """The σ/√π term is all that is left of σ: 1e-9 × 0.56."""
    actual = scores.crps(np.array([1.0]), np.array([1e-9]), np.array([3.0]))
    assert_allclose(actual, 2.0, atol=1e-8)


def test_crps_of_ensembles():
    """The three-member example worked by hand (`AT-9`), exact but for rounding."""
    members, truth = np.array([[1.0], [2.0], [4.0]]), np.array([2.5])
    assert_allclose(scores.crps_ensemble(members, truth), 0.5, rtol=1e-14)
    assert_allclose(scores.crps_ensemble(members, truth, fair=True), 1 / 6, rtol=1e-14)


def test_crps_of_a_large_ensemble_is_that_of_its_gaussian():
    """Members at the quantiles leave an O(1/members) discretisation error."""
    members = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    truth = np.array([0.8])
    expected = scores.crps(np.array([0.0]), np.array([1.0]), truth)
    assert_allclose(scores.crps_ensemble(members, truth), expected, atol=1e-3)


@pytest.mark.parametrize("score", [scores.nll, scores.crps])
def test_proper_scores_are_least_at_the_true_spread_and_mean(score):
    """Truth N(0, 1) by quantiles; the minimum is sought on a grid of spacing 0.05."""
    mean, _, truth = calibrated_quantiles(1.0)
    stds = np.arange(0.5, 2.0, 0.05)
    by_std = [score(mean, np.full_like(mean, s), truth) for s in stds]
    assert_allclose(stds[np.argmin(by_std)], 1.0, atol=0.026)
    shifts = np.arange(-0.5, 0.51, 0.05)
    by_mean = [score(mean + s, np.ones_like(mean), truth) for s in shifts]
    assert_allclose(shifts[np.argmin(by_mean)], 0.0, atol=0.026)


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_expected_scores_of_a_wrong_spread(std):
    """Expectations over N(0, 1); the quantiles cut the tails at 4σ, which costs 2e-3 of z²."""
    mean, _, truth = calibrated_quantiles(1.0)
    stds = np.full_like(mean, std)
    expected_crps = math.sqrt(2 * (1 + std**2) / math.pi) - std / math.sqrt(math.pi)
    expected_nll = 0.5 * math.log(2 * math.pi * std**2) + 0.5 / std**2
    assert_allclose(scores.crps(mean, stds, truth), expected_crps, atol=1e-4)
    assert_allclose(scores.nll(mean, stds, truth), expected_nll, atol=2e-3)


def test_likelihood_exceeds_its_least_by_the_divergence_from_the_truth():
    """KL(q‖p) = ⟨−ln p⟩ − ⟨−ln q⟩ over q, which mean ± σ of q stand for: only their squares count."""
    truth = np.array([0.3 - 0.5, 0.3 + 0.5])

    def nll(mean, std):
        return scores.nll(np.full(2, mean), np.full(2, std), truth)

    assert_allclose(nll(0.0, math.sqrt(0.5)) - nll(0.3, 0.5), 0.1865735903, atol=1e-10)
    # What a label tells of a function of variance 0.04, by a noise of 0.01: Houlsby et al., arXiv:1112.5745.
    both, noise = math.sqrt(0.05), 0.1
    told = [scores.nll(np.zeros(2), np.full(2, s), np.array([-s, s])) for s in (both, noise)]
    assert_allclose(told[0] - told[1], 0.8047189562, atol=1e-10)


def test_expected_improvement_is_half_of_a_score():
    """E max(b − y, 0) = (E|y − b| + b − μ)/2, and the score at b is E|y − b| − σ/√π.

    Source: Jones, Schonlau & Welch, J. Glob. Optim. 13, 455 (1998), eq. 15.
    """
    mean, std, best = -0.2, 0.3, -0.1
    score = scores.crps(np.array([mean]), np.array([std]), np.array([best]))
    assert_allclose(0.5 * (score + std / math.sqrt(math.pi) + best - mean), 0.1762708343, atol=1e-10)


def test_likelihood_is_least_where_spreads_are_scaled_to_unit_errors():
    """One factor for all σ: the root of the mean square of errors in units of σ."""
    error, std = np.array([0.02, -0.05, 0.01, 0.08]), np.array([0.03, 0.04, 0.02, 0.05])
    factor = math.sqrt(scores.z_variance(np.zeros(4), std, error))
    assert_allclose(factor, 1.0973769230, atol=1e-10)
    assert_allclose(scores.z_variance(np.zeros(4), factor * std, error), 1.0, rtol=1e-12)
    factors = np.linspace(0.9, 1.3, 4001)
    losses = [scores.nll(np.zeros(4), f * std, error) for f in factors]
    assert_allclose(factors[np.argmin(losses)], factor, atol=1e-4)


@pytest.mark.parametrize(
    ("ratio", "area"),
    [
        (2.0, 0.1024163823),
        (0.5, 0.1024163823),
        (1.5, 0.0628329582),
        (3.0, 0.1475836177),
        (1.0, 0.0),
    ],
)
def test_miscalibration_area_of_a_spread_that_is_wrong_by_a_factor(ratio, area):
    """Twenty thousand steps of the distribution function leave 1/(4 n) = 1.3e-5 (`AT-10`)."""
    assert_allclose(abs(math.atan(ratio) / math.pi - 0.25), area, atol=1e-10)
    points = calibrated_quantiles(ratio)
    assert_allclose(scores.miscalibration_area(*points), area, atol=3e-5)
    assert_allclose(scores.central_miscalibration_area(*points), 2 * area, atol=6e-5)
    # The curve leaves the corners with infinite slope, which costs 100 bins up to 2e-3.
    assert_allclose(scores.ece(*points), area, atol=2e-3)


def test_calibration_errors_of_ten_given_values():
    """Counted by hand on ten PIT values (`AT-10`)."""
    assert_allclose(scores.ece_from_pit(PIT_VALUES, 10), 0.01, atol=1e-12)
    assert_allclose(scores.ece_from_pit(PIT_VALUES, 5), 0.02, atol=1e-12)
    assert_allclose(scores.miscalibration_area_from_pit(PIT_VALUES), 0.037, atol=1e-12)
    assert_allclose(scores.ks_from_pit(PIT_VALUES), 0.12, atol=1e-12)


def test_central_area_of_given_values():
    """Of one truth at its median every central interval holds it: the area is that above the diagonal."""
    assert_allclose(scores.central_miscalibration_area_from_pit(np.array([0.5])), 0.5, atol=1e-12)
    assert_allclose(scores.central_miscalibration_area_from_pit(np.array([0.25, 0.75])), 0.25, atol=1e-12)
    # All on one side, spread as they should be: a central interval cannot tell.
    one_side = 0.5 + 0.5 * (np.arange(1000) + 0.5) / 1000
    assert scores.central_miscalibration_area_from_pit(one_side) < 1e-3
    assert_allclose(scores.miscalibration_area_from_pit(one_side), 0.25, atol=1e-3)


def test_binned_calibration_error_tends_to_the_area():
    """The sum over B bins misses at most n jumps of width 1/B."""
    area = scores.miscalibration_area_from_pit(PIT_VALUES)
    assert_allclose(scores.ece_from_pit(PIT_VALUES, 100_000), area, atol=1e-4)


def test_proper_scores_agree_with_uncertainty_toolbox(points):
    """The same closed forms in another program: rounding only."""
    mean, std, truth = points
    assert_allclose(scores.nll(*points), uct.nll_gaussian(mean, std, truth), rtol=1e-12)
    assert_allclose(scores.crps(*points), uct.crps_gaussian(mean, std, truth), rtol=1e-12)


def test_calibration_agrees_with_uncertainty_toolbox(points):
    """Its residual is prediction − truth, so its curve is ours mirrored; 2 000 bins to 1e-3."""
    mean, std, truth = points
    theirs = uct.miscalibration_area(
        mean, std, truth, num_bins=2000, vectorized=True, prop_type="quantile"
    )
    assert_allclose(scores.miscalibration_area(*points), theirs, atol=1e-3)
    central = uct.miscalibration_area(mean, std, truth, num_bins=2000, vectorized=True, prop_type="interval")
    assert_allclose(scores.central_miscalibration_area(*points), central, atol=1e-3)
    ece = uct.mean_absolute_calibration_error(
        mean, std, truth, num_bins=101, vectorized=True, prop_type="quantile"
    )
    # It also counts the level 0, where both curves vanish.
    assert_allclose(scores.ece(*points), ece * 101 / 100, atol=3e-3)


def test_coverage_agrees_with_uncertainty_toolbox(points):
    """A count of the same points: exact."""
    mean, std, truth = points
    for level, share in scores.coverage(*points).items():
        theirs = uct.get_proportion_in_interval(mean, std, truth, float(level))
        assert_allclose(share, theirs, atol=1e-12)


def test_coverage_is_keyed_by_the_level_as_text(points):
    """These keys are what readers of the JSON output rely on."""
    assert list(scores.coverage(*points)) == ["0.5", "0.68", "0.9", "0.95"]


def test_calibrated_points_are_covered_as_promised():
    """Quantiles of the right Gaussian miss a level by at most one point in 20 000."""
    points = calibrated_quantiles(1.0)
    for level, share in scores.coverage(*points).items():
        assert_allclose(share, float(level), atol=1e-4)
    assert_allclose(scores.z_variance(*points), 1.0, atol=1e-3)


def test_rank_measures_agree_with_scipy_and_sklearn(points):
    """The same definitions in other programs: rounding only."""
    mean, std, truth = points
    error = truth - mean
    spearman = stats.spearmanr(std, np.abs(error)).statistic
    assert_allclose(scores.spearman(std, error), spearman, rtol=1e-12)
    pearson = stats.pearsonr(std, np.abs(error)).statistic
    assert_allclose(scores.pearson(std, error), pearson, rtol=1e-12)
    worst = np.abs(error) >= np.sort(np.abs(error))[-20]
    assert_allclose(scores.auroc_top5(std, error), roc_auc_score(worst, std), rtol=1e-12)


def test_rank_measures_of_ties_and_of_perfect_order():
    """A constant σ tells nothing: its correlation is undefined and its AUROC is chance."""
    error = np.arange(1.0, 41.0)
    flat = np.full(40, 0.3)
    assert math.isnan(scores.spearman(flat, error))
    assert math.isnan(scores.pearson(flat, error))
    assert scores.auroc_top5(flat, error) == 0.5
    assert scores.auroc_top5(error, -error) == 1.0
    assert_allclose(scores.spearman(error, -error), 1.0, rtol=1e-14)
    assert math.isnan(scores.auroc_top5(flat, flat))


@pytest.mark.parametrize(("spread", "oracle"), [(0.3, 0.300), (0.5, 0.454), (1.0, 0.694)])
def test_even_a_perfect_sigma_has_a_limited_rank_correlation(spread, oracle):
    """Sampling error of a rank correlation of 40 000 points: 1/√n = 0.005, three times that."""
    rng = np.random.default_rng(1)
    std = np.exp(spread * rng.normal(size=40_000))
    assert_allclose(scores.spearman(std, std * rng.normal(size=40_000)), oracle, atol=0.015)


def test_binned_errors_partition_the_points_and_find_a_wrong_scale(points):
    """Counts add up; residuals 1.4 times too large give ENCE 0.4 within the noise of 400."""
    mean, std, truth = points
    rmv, rmse, count = scores.binned_rmse(std, truth - mean, bins=7)
    assert np.sum(count) == 400
    assert np.ptp(count) <= 1
    assert np.all(np.diff(rmv) > 0)
    total = np.sum(count * rmse**2) / 400
    assert_allclose(total, np.mean((truth - mean) ** 2), rtol=1e-12)
    assert_allclose(scores.ence(std, truth - mean, bins=7), 0.4, atol=0.12)


def test_scores_scale_with_the_unit(points):
    """In meV the CRPS and sharpness are 1 000 times as large, the NLL grows by ln 1000."""
    milli = tuple(1000 * array for array in points)
    assert_allclose(scores.crps(*milli), 1000 * scores.crps(*points), rtol=1e-12)
    assert_allclose(scores.sharpness(milli[1]), 1000 * scores.sharpness(points[1]), rtol=1e-12)
    assert_allclose(scores.nll(*milli), scores.nll(*points) + math.log(1000), rtol=1e-12)
    for name in ["ece", "miscalibration_area", "z_variance"]:
        score = getattr(scores, name)
        assert_allclose(score(*milli), score(*points), rtol=1e-9)


@pytest.mark.parametrize(
    ("std", "truth", "message"),
    [
        ([0.1, 0.0], [1.0, 1.0], "1 of 2 standard deviations are not positive"),
        ([0.1, math.nan], [1.0, 1.0], "not positive"),
        ([0.1, 0.1], [1.0, math.nan], "1 of 2 points are not finite"),
        ([], [], "no points to score"),
    ],
)
def test_points_that_cannot_be_scored_are_refused(std, truth, message):
    """A NaN that slips through would poison a mean without a word."""
    with pytest.raises(InputError, match=message):
        scores.nll(np.zeros(len(std)), np.array(std), np.array(truth))


def test_an_ensemble_too_small_is_refused():
    """A fair score needs a pair of different members."""
    with pytest.raises(InputError, match="at least 2 members"):
        scores.crps_ensemble(np.zeros((1, 3)), np.zeros(3), fair=True)
