"""Choosing inducing environments: shares, copies, what is forced, and chance that round-off does not upset."""

import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.gp.inducing import SELECTIONS, select

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(300, 8)) @ np.diag(2.0 ** -np.arange(8))
SPECIES = np.repeat([0, 1], [200, 100])


@pytest.mark.parametrize("method", SELECTIONS)
def test_as_many_as_asked_for_of_each_species_and_the_forced_among_them(method):
    chosen = select(VECTORS, SPECIES, 60, method, 0, np.array([7, 250]))
    assert len(np.unique(chosen)) == len(chosen) == 60
    assert {7, 250} <= set(chosen.tolist())
    shares = np.bincount(SPECIES[chosen])
    np.testing.assert_allclose(shares / 60, np.sqrt([200, 100]) / np.sum(np.sqrt([200, 100])), atol=0.02)


@pytest.mark.parametrize("method", SELECTIONS)
def test_copies_are_taken_once(method):
    doubled = np.concatenate([VECTORS[:50], VECTORS[:50]])
    chosen = select(doubled, np.zeros(100, int), 100, method, 0)
    assert len(chosen) == 50
    assert len(np.unique(doubled[chosen], axis=0)) == 50


@pytest.mark.parametrize("method", ["cur", "leverage"])
def test_round_off_and_a_removed_copy_leave_the_choice_as_it_was(method):
    one = select(VECTORS, SPECIES, 60, method, 3)
    moved = VECTORS * (1.0 + 1e-13 * RNG.normal(size=VECTORS.shape))
    np.testing.assert_array_equal(select(moved, SPECIES, 60, method, 3), one)
    first = int(np.setdiff1d(np.arange(200), one)[0])
    copied = moved.copy()
    copied[first] = moved[-1] if SPECIES[first] == SPECIES[-1] else moved[one[0]]
    other = select(copied, SPECIES, 60, method, 3)
    assert len(np.setdiff1d(other, one)) <= 3  # not a new draw
    assert len(np.setdiff1d(select(VECTORS, SPECIES, 60, method, 4), one)) > 10


def test_likelier_ones_are_taken_more_often():
    # One direction of the space belongs to one environment alone: its leverage is the highest.
    vectors = np.concatenate([VECTORS[:80, :4] @ np.ones((4, 3)) * 0.1, [[0.0, 3.0, -3.0]]])
    hits = [80 in select(vectors, np.zeros(81, int), 5, "leverage", seed) for seed in range(20)]
    assert sum(hits) >= 15


def test_too_few_for_the_species():
    with pytest.raises(InputError, match="too few"):
        select(VECTORS, SPECIES, 1, "cur", 0)
    with pytest.raises(InputError, match="selection must be"):
        select(VECTORS, SPECIES, 10, "best", 0)
