"""What uncertainties are used for: finding large errors, telling new environments, shares with their bounds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty import scores
from gpjaxpot.uncertainty.bootstrap import share_interval
from gpjaxpot.uncertainty.novelty import Novelty
from gpjaxpot.uncertainty.reduction import Reduction
from gpjaxpot.uncertainty.remoteness import Remoteness
from gpjaxpot.uncertainty.retrieval import retrieval_curve, retrieval_score


def test_a_perfect_uncertainty_finds_all_at_once_and_a_constant_one_by_chance():
    error = np.random.default_rng(0).normal(size=1000)
    assert retrieval_score(np.abs(error), error) == 1.0
    looked, found = retrieval_curve(np.ones(1000), error)
    assert_allclose(found, looked, atol=1e-12)
    looked, found = retrieval_curve(-np.abs(error), error)
    assert found[np.searchsorted(looked, 0.95)] == 0.0
    assert found[-1] == 1.0


def test_retrieval_is_the_count_by_hand():
    uncertainty, error = np.array([3.0, 2.0, 2.0, 1.0]), np.array([0.1, 5.0, 0.2, -4.0])
    _, found = retrieval_curve(uncertainty, error, share=0.5)
    assert_allclose(found, [0.0, 0.0, 0.25, 0.5, 1.0])


def test_bounds_of_a_share_know_that_groups_go_together():
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 50)
    together = (generator.uniform(size=40) < 0.9)[groups]
    apart = generator.uniform(size=2000) < 0.9
    wide, narrow = (np.ptp(share_interval(i, groups)) for i in (together, apart))
    assert wide > 3 * narrow
    low, high = share_interval(apart, np.arange(2000), level=0.99)
    assert_allclose(high - low, 2 * 2.576 * np.sqrt(0.09 / 2000), rtol=0.1)
    with pytest.raises(InputError, match="two at least"):
        share_interval(apart, np.zeros(2000))


def test_what_is_new_has_a_score_above_one():
    generator = np.random.default_rng(2)
    known = np.concatenate([generator.normal(size=(400, 3)), 8.0 + generator.normal(size=(200, 3))])
    made = Novelty.fit(known)
    assert 0.4 < made(known).max() < 1.3
    assert np.median(made(known)) < 0.1
    assert np.all(made(np.array([[4.0, 4.0, 4.0], [-9.0, 0.0, 0.0]])) > 1.0)
    assert np.mean(made(generator.normal(size=(400, 3))) > 1.0) < 0.02


def test_the_most_remote_known_point_has_a_score_of_one():
    known = np.array([0.0, 1.0, 2.0, 3.0, 7.0])[:, None]
    made = Remoteness.fit(known)
    assert made.farthest == 4.0
    assert_allclose(made(np.array([[3.5], [9.0], [-8.0]])), [0.125, 0.5, 2.0])
    assert np.all(made(known) == 0.0)


def test_neighbours_in_time_do_not_make_a_trajectory_look_denser_than_it_is():
    steps = np.random.default_rng(4).normal(size=(300, 6))
    slow = np.zeros_like(steps)
    for i in range(1, 300):  # an Ornstein-Uhlenbeck process of unit variance
        slow[i] = 0.95 * slow[i - 1] + np.sqrt(1 - 0.95**2) * steps[i]
    apart = Remoteness.fit(slow[:200])
    assert np.max(apart(slow[220:])) < 1.2
    together = Remoteness.fit(np.random.default_rng(0).permutation(slow[:200]))
    assert np.max(together(slow[220:])) > 1.2 * np.max(apart(slow[220:]))


def test_of_many_points_some_are_kept_and_alike_ones_are_not_new():
    many = np.random.default_rng(5).normal(size=(1000, 2))
    made = Remoteness.fit(many)
    assert len(made.points) == 256
    assert np.mean(made(np.random.default_rng(6).normal(size=(1000, 2))) > 1.0) < 0.01
    same = Remoteness.fit(np.ones((20, 3)))
    assert np.all(same(np.ones((1, 3)) * (1 + 1e-6)) < 1.0)
    assert np.all(same(np.ones((1, 3)) * 1.01) > 1.0)
    with pytest.raises(InputError, match="three finite points"):
        Remoteness.fit(np.ones((2, 3)))


def test_components_are_of_unit_variance_and_the_rest_is_told_beside():
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(300, 40)) * np.geomspace(1.0, 1e-3, 40) + 5.0
    made = Reduction.fit(vectors, 4)
    reduced = made(vectors)
    assert reduced.shape == (300, 5)
    assert_allclose(np.cov(reduced[:, :4].T, bias=True), np.eye(4), atol=1e-8)
    assert_allclose(np.mean(reduced[:, 4] ** 2), 1.0, rtol=1e-8)
    # The few leading components by Lanczos, all by a full decomposition.
    full = Reduction.fit(vectors, 39)(vectors)[:, :4]
    assert_allclose(np.abs(np.sum(full * reduced[:, :4], axis=0)) / 300, 1.0, rtol=1e-8)
    strange = vectors[:1].copy()
    strange[0, -1] += 10.0
    assert made(strange)[0, 4] > 5 * made(vectors)[:, 4].max()


def test_equal_vectors_have_nothing_beside():
    made = Reduction.fit(np.ones((5, 3)), 2)
    assert np.all(made(np.ones((2, 3)))[:, -1] == 0)
    assert made(np.ones((1, 3)) + 0.1)[0, -1] > 100
    assert Reduction.fit(np.ones((300, 60)), 10)(np.ones((4, 60))).shape == (4, 1)
    with pytest.raises(InputError, match="two vectors"):
        Reduction.fit(np.ones((1, 3)), 2)


@pytest.mark.parametrize(
    ("spread", "component", "vector"), [(0.3, 0.300, 0.531), (0.5, 0.454, 0.716), (1.0, 0.694, 0.896)]
)
def test_the_ceiling_of_rank_correlations(spread, component, vector):
    std = np.exp(spread * np.random.default_rng(4).normal(size=20_000))
    assert_allclose(scores.oracle_spearman(std), component, atol=0.015)
    assert_allclose(scores.oracle_spearman(np.repeat(std[:, None], 3, axis=1)), vector, atol=0.015)


def test_the_interval_score_is_smallest_at_the_quantiles():
    truth = np.random.default_rng(5).normal(size=50_000)
    losses = [
        scores.interval_score(np.full(50_000, -h), np.full(50_000, h), truth, 0.9) for h in (1.3, 1.6449, 2.0)
    ]
    assert losses[1] == min(losses)
    with pytest.raises(InputError, match="between 0 and 1"):
        scores.interval_score(truth, truth, truth, 90.0)
