"""Regular, class-based and flexible calibration: the identities between them, and the case with known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty import scores as score
from gpjaxpot.uncertainty.classes import ByClass, GaussianClasses
from gpjaxpot.uncertainty.conformal import conformal_quantile
from gpjaxpot.uncertainty.conformalised import Conformalised
from gpjaxpot.uncertainty.flexible import Flexible, QuantileNetwork, cross_fit, pinball
from gpjaxpot.uncertainty.regular import Regular

LEVELS = np.array([0.5, 0.9])


@pytest.fixture(scope="module")
def two_classes():
    """AT-17: two classes of environments, errors |N(0, 1)| and |N(0, 3²)|, uncertainties 1."""
    generator = np.random.default_rng(0)
    own = generator.integers(0, 2, 6000)
    features = np.where(own[:, None] == 0, -2.0, 2.0) + 0.3 * generator.normal(size=(6000, 2))
    return np.abs(generator.normal(size=6000)) * np.where(own == 0, 1.0, 3.0), features, own


@pytest.fixture(scope="module")
def flexible(two_classes):
    scores, features, _ = two_classes
    return cross_fit(scores, features, LEVELS)


def test_one_number_has_the_coverages_of_the_specification(two_classes):
    scores, features, own = two_classes
    found = Regular.fit(scores, LEVELS).quantiles(features)
    assert_allclose(found[0], [1.0785456752, 3.8456824310], rtol=0.05)
    inside = scores[:, None] <= found
    assert_allclose([inside[own == k].mean(0) for k in (0, 1)], [[0.71921, 0.99988], [0.28079, 0.80012]], atol=0.03)


def test_one_number_leaves_every_ranking_as_it_is():
    generator = np.random.default_rng(1)
    u, features = generator.uniform(0.1, 1.0, 500), np.zeros((500, 1))
    error = np.abs(u * generator.normal(size=500))
    calibrated = u * Regular.fit(error / u, LEVELS).quantiles(features)[:, 1]
    for rank in (score.spearman, score.pearson, score.auroc_top5):
        assert_allclose(rank(calibrated, error), rank(u, error), rtol=1e-12)


def test_classes_have_the_quantiles_of_the_specification(two_classes):
    scores, features, own = two_classes
    made = ByClass.fit(scores, features, LEVELS, 2)
    found = made.quantiles(features)
    for k, expected in [(0, [0.67449, 1.64485]), (1, [2.02347, 4.93456])]:
        assert_allclose(found[own == k].mean(0), expected, rtol=0.05)
    assert found[:, 1].mean() < Regular.fit(scores, LEVELS).quantiles(features)[:, 1].mean()


def test_a_network_finds_the_quantiles_of_the_classes(two_classes, flexible):
    _, features, own = two_classes
    found = flexible[0].quantiles(features)
    for k, expected in [(0, [0.67449, 1.64485]), (1, [2.02347, 4.93456])]:
        assert_allclose(np.median(found[own == k], axis=0), expected, rtol=0.06)
    assert np.all(np.diff(found, axis=1) > 0)


def test_features_that_say_nothing_give_one_number_back(two_classes):
    scores, features, _ = two_classes
    shuffled = np.random.default_rng(2).permutation(features)
    found = Flexible.fit(scores, shuffled, LEVELS).quantiles(shuffled)
    regular = Regular.fit(scores, LEVELS).quantiles(features)[0]
    assert_allclose(found.mean(0), regular, rtol=0.03)
    assert np.all(found.std(0) < 0.05 * regular)


def test_a_network_begins_at_the_regular_solution():
    features = np.random.default_rng(3).normal(size=(50, 4))
    start = QuantileNetwork.start(features, np.array([0.7, 1.6, 40.0]), seed=0)
    assert_allclose(start.on_host(features), np.broadcast_to([0.7, 1.6, 40.0], (50, 3)), rtol=1e-12)


def test_both_ways_through_a_network_agree_and_one_is_differentiable(flexible, two_classes):
    _, features, _ = two_classes
    network = flexible[0].networks[0]
    assert_allclose(np.asarray(network(jnp.asarray(features[:20]))), network.on_host(features[:20]), rtol=1e-12)
    gradient = jax.grad(lambda x: network(x[None])[0, 0])(jnp.asarray(features[0]))
    step = 1e-6 * np.eye(2)
    finite = [(network.on_host(features[:1] + s)[0, 0] - network.on_host(features[:1] - s)[0, 0]) / 2e-6 for s in step]
    assert_allclose(np.asarray(gradient), finite, rtol=1e-5, atol=1e-7)


def test_all_networks_at_once_give_what_each_gives(flexible, two_classes):
    _, features, _ = two_classes
    made, found = flexible[0], flexible[0].quantiles(features[:50])
    assert len(made.networks) == 20
    assert_allclose(found, np.mean([n.on_host(features[:50]) for n in made.networks], axis=0), rtol=1e-12)


def test_a_last_factor_gives_the_level_and_keeps_the_ranking(two_classes, flexible):
    scores, features, _ = two_classes
    made, apart = flexible
    last = Conformalised.fit(made, scores, apart)
    for k, level in enumerate(LEVELS):
        assert last.factors[k] == conformal_quantile(scores / apart[:, k], level)
        ratio = last.quantiles(features)[:, k] / made.quantiles(features)[:, k]
        assert_allclose(ratio, last.factors[k], rtol=1e-12)
    generator = np.random.default_rng(4)
    own = generator.integers(0, 2, 20_000)
    new = np.where(own[:, None] == 0, -2.0, 2.0) + 0.3 * generator.normal(size=(20_000, 2))
    error = np.abs(generator.normal(size=20_000)) * np.where(own == 0, 1.0, 3.0)
    inside = np.mean(error[:, None] <= last.quantiles(new), axis=0)
    # The Beta law of 6000 calibration points, and 20 000 counted ones.
    assert_allclose(inside, LEVELS, atol=4 * np.sqrt(0.25 / 6000 + 0.25 / 20_000))


def test_weights_of_the_loss_put_it_in_units_of_the_error():
    """ρ(e − q u) = u ρ(e/u − q): the same loss, by its weight."""
    generator = np.random.default_rng(5)
    u, q = generator.uniform(0.1, 2.0, 100), generator.uniform(0.5, 2.0, 100)
    e = np.abs(generator.normal(size=100))
    assert_allclose(pinball(e - q * u, 0.9), u * pinball(e / u - q, 0.9), rtol=1e-12)


@pytest.mark.parametrize(
    ("level", "at", "loss"), [(0.5, 3.0, 1.1), (0.9, 10.0, 0.6), (0.9, 3.0, 1.5)]
)
def test_losses_of_the_specification(level, at, loss):
    values = np.array([1.0, 2.0, 3.0, 4.0, 10.0])
    assert_allclose(np.mean(pinball(values - at, level)), loss, rtol=1e-12)


@pytest.mark.parametrize(("level", "least"), [(0.5, 3.0), (0.9, 10.0)])
def test_the_loss_of_five_values_is_least_at_their_quantile(level, least):
    places = np.linspace(0.0, 12.0, 1201)
    losses = np.mean(pinball(np.array([1.0, 2.0, 3.0, 4.0, 10.0]) - places[:, None], level), axis=1)
    assert_allclose(places[np.argmin(losses)], least, atol=1e-9)


def least_lossy(scores, level, weights=None):
    """The score at which the mean loss is least: it is linear between two of them."""
    places = np.sort(scores)
    losses = np.average(pinball(scores - places[:, None], level), axis=1, weights=weights)
    return places[np.argmin(losses)]


@pytest.mark.parametrize("level", [0.15, 0.5, 0.68, 0.9])
def test_the_loss_is_least_at_the_conformal_quantile(level):
    """At the level that counts the new point: (n + 1)/n times the level, or by weights.

    Source: Koenker & Bassett, Econometrica 46, 33 (1978), for the loss.
    """
    generator = np.random.default_rng(8)
    scores = np.abs(generator.normal(size=36))  # 37 times a level is no whole number: two scores would lose alike
    assert least_lossy(scores, 37 / 36 * level) == conformal_quantile(scores, level)
    weights, new = generator.uniform(0.2, 3.0, 36), 1.6
    total = float(np.sum(weights))
    assert least_lossy(scores, (total + new) / total * level, weights) == conformal_quantile(
        scores, level, weights, new
    )


def test_a_function_that_is_constant_on_classes_has_the_class_based_quantiles(two_classes):
    """Ho, Ortner & Wang (2026): the loss of such a function is a sum of those of its classes."""
    # Of levels with three digits a few hundred points and one have no whole number.
    levels, scores, features = np.array([0.503, 0.897]), two_classes[0][:900], two_classes[1][:900]
    made = ByClass.fit(scores, features, levels, 2)
    own = made.classes.classify(features)
    for c in range(2):
        here = scores[own == c]
        assert list(made.table[c]) == [least_lossy(here, (len(here) + 1) / len(here) * p) for p in levels]
        # Balancing the classes moves no constant of one.
        assert least_lossy(here, 0.897, np.full(len(here), 1.0 / len(here))) == least_lossy(here, 0.897)
    assert list(Regular.fit(scores, levels).quantiles_) == [least_lossy(scores, 901 / 900 * p) for p in levels]


def test_new_points_lose_least_by_networks_and_classes_and_most_by_one_number(two_classes, flexible):
    scores, features, _ = two_classes
    generator = np.random.default_rng(9)
    own = generator.integers(0, 2, 20_000)
    new = np.where(own[:, None] == 0, -2.0, 2.0) + 0.3 * generator.normal(size=(20_000, 2))
    error = np.abs(generator.normal(size=20_000)) * np.where(own == 0, 1.0, 3.0)
    made = (flexible[0], ByClass.fit(scores, features, LEVELS, 2), Regular.fit(scores, LEVELS))
    network, classes, one = (np.mean(pinball(error[:, None] - m.quantiles(new), LEVELS), axis=0) for m in made)
    # The mean loss of half-normals, of σ = 1 and 3, is the least there is: 2 × 0.23661 and 2 × 0.12648.
    assert_allclose(classes, [0.47322, 0.25297], rtol=0.03)
    assert_allclose(network, classes, rtol=0.01)
    assert np.all(one > 1.04 * classes)


def test_two_classes_of_very_many_points():
    """Half-normal errors of σ = 1 and 3 by their quantiles: one number covers one class too much, one too little."""
    grid = stats.halfnorm.ppf((np.arange(20_000) + 0.5) / 20_000)
    scores, own = np.concatenate([grid, 3.0 * grid]), np.repeat([0, 1], 20_000)
    features = own[:, None] + 0.01 * np.random.default_rng(10).normal(size=(40_000, 1))
    regular, classes = Regular.fit(scores, LEVELS), ByClass.fit(scores, features, LEVELS, 2)
    one, two = regular.quantiles(features), classes.quantiles(features)
    # Steps of the distribution function of 1/20 000, over a density of 0.07 at the least.
    assert_allclose(one[0], [1.0785456752, 3.8456824310], atol=2e-3)
    inside = [np.mean(scores[own == k, None] <= one[own == k], axis=0) for k in (0, 1)]
    assert_allclose(inside, [[0.71921, 0.99988], [0.28079, 0.80012]], atol=2e-4)
    for k, expected in [(0, [0.67449, 1.64485]), (1, [2.02347, 4.93456])]:
        assert_allclose(two[own == k], np.broadcast_to(expected, (20_000, 2)), atol=2e-3)
        covered = np.mean(scores[own == k, None] <= two[own == k], axis=0)
        assert_allclose(covered, LEVELS, atol=1e-4)
    assert_allclose([one[:, 1].mean(), two[:, 1].mean()], [3.8457, 3.2897], atol=2e-3)


def test_the_least_loss_tells_the_mean_beyond_the_quantile():
    """E(x | x > Q) is the mean and the least loss over 1 − p: of a normal distribution φ(z)/(1 − p).

    Source: Rockafellar & Uryasev, J. Risk 2, 21 (2000), theorem 1.
    """
    grid = stats.norm.ppf((np.arange(400_000) + 0.5) / 400_000)
    for level, expected in [(0.9, 1.754983), (0.95, 2.062713)]:
        least = np.mean(pinball(grid - stats.norm.ppf(level), level))
        assert_allclose(np.mean(grid) + least / (1.0 - level), expected, atol=1e-4)
        assert_allclose(np.mean(grid[grid > stats.norm.ppf(level)]), expected, atol=1e-4)


def test_losses_of_half_normals():
    for level, expected in [(0.5, 0.2366108650), (0.9, 0.1264828247)]:
        grid = stats.halfnorm.ppf((np.arange(400_000) + 0.5) / 400_000)
        found = np.mean(pinball(grid - stats.halfnorm.ppf(level), level))
        assert_allclose(found, expected, rtol=1e-4)


def test_the_mixture_is_that_of_scikit_learn():
    from sklearn.mixture import GaussianMixture

    generator = np.random.default_rng(6)
    features = np.concatenate([generator.normal(size=(200, 3)), 4.0 + 0.5 * generator.normal(size=(100, 3))])
    made = GaussianClasses.fit(features, 2, seed=1)
    judge = GaussianMixture(2, reg_covar=1e-4, random_state=1).fit(features)
    new = 2.0 * generator.normal(size=(50, 3))
    assert_allclose(made.log_density(new), judge.score_samples(new), rtol=1e-9)
    assert np.array_equal(made.classify(new), judge.predict(new))


def test_a_class_without_enough_points_takes_the_quantile_of_all():
    generator = np.random.default_rng(7)
    features = np.concatenate([generator.normal(size=(300, 1)), [[50.0], [50.1], [49.9]]])
    scores = np.abs(generator.normal(size=303))
    made = ByClass.fit(scores, features, np.array([0.9]), GaussianClasses.fit(features, 2))
    assert made.quantiles(np.array([[50.0]]))[0, 0] == conformal_quantile(scores, 0.9)


def test_one_kind_of_environment_is_one_class():
    made = ByClass.fit(np.ones(30), np.zeros((30, 2)), np.array([0.5]))
    assert_allclose(made.quantiles(np.zeros((4, 2))), 1.0)


@pytest.mark.parametrize(
    ("scores", "features", "levels", "message"),
    [
        (np.array([1.0, np.inf]), np.zeros((2, 1)), LEVELS, "finite numbers"),
        (np.ones(3), np.zeros((2, 1)), LEVELS, "a row for each of the 3"),
        (np.ones(3), np.zeros((3, 1)), LEVELS[::-1], "ascend"),
        (np.ones(1), np.zeros((1, 1)), LEVELS, "needs three at least"),
    ],
)
def test_bad_input_is_named(scores, features, levels, message):
    with pytest.raises(InputError, match=message):
        cross_fit(scores, features, levels)


def test_classes_that_still_move_are_taken_without_a_word(monkeypatch, recwarn):
    monkeypatch.setattr("gpjaxpot.uncertainty.classes._STEPS", 1)
    found = GaussianClasses.fit(np.random.default_rng(6).normal(size=(400, 2)), 8)
    assert len(found.shares) == 8
    assert not [w for w in recwarn if "converge" in str(w.message)]
