"""Splits: disjoint, of the right size, the same for the same seed."""

import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.structures.splits import block_split, group_split, random_split, spread_order


def disjoint(parts, n):
    """Whether the parts share no index and stay within 0 … n-1."""
    together = np.concatenate(parts)
    return len(set(together.tolist())) == len(together) and set(together.tolist()) <= set(range(n))


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ((7, 3), (7, 3)),
        ((0.8, 0.2), (8, 2)),
        ((0.5,), (5,)),
        ((0.33, 0.33, 0.34), (3, 4, 3)),
        ((4, 0), (4, 0)),
    ],
)
def test_random_split(sizes, lengths):
    parts = random_split(10, sizes, seed=3)
    assert tuple(len(part) for part in parts) == lengths
    assert disjoint(parts, 10)
    for part, again in zip(parts, random_split(10, sizes, seed=3), strict=True):
        np.testing.assert_array_equal(part, again)
        np.testing.assert_array_equal(part, np.sort(part))


def test_another_seed_is_another_split():
    assert (
        random_split(100, (50,), seed=0)[0].tolist() != random_split(100, (50,), seed=1)[0].tolist()
    )


def test_blocks_stay_together_and_every_group_is_shared_out():
    groups = ["a"] * 40 + ["b"] * 60
    parts = block_split(100, (0.75, 0.25), block=5, groups=groups)
    assert disjoint(parts, 100)
    assert [len(part) for part in parts] == [75, 25]
    for part in parts:
        assert {i // 5 for i in part} == {i // 5 for i in part if i % 5 == 0}
        assert len(part) == 5 * len({i // 5 for i in part})
        assert {groups[i] for i in part} == {"a", "b"}


def test_runs_of_a_group_are_about_as_long_so_that_none_is_left_over():
    """22 structures are runs of 6, 6, 5 and 5, of which one goes into a part of 30 %; not of 7, 7, 7 and 1."""
    for seed in range(8):
        (part,) = block_split(22, (0.3,), block=7, seed=seed)
        assert len(part) in (5, 6)
        assert np.all(np.diff(part) == 1)


def test_runs_follow_the_group_and_not_the_order_in_the_file():
    groups = ["a", "b"] * 10
    train, test = block_split(20, (0.5, 0.5), block=5, groups=groups)
    for part in (train, test):
        for group in "ab":
            members = [i // 2 for i in part if groups[i] == group]
            assert members in ([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])


def test_groups_are_not_cut():
    groups = [str(i // 7) for i in range(70)]
    parts = group_split(groups, (0.7, 0.3), seed=1)
    assert disjoint(parts, 70)
    assert sum(map(len, parts)) == 70
    assert not {groups[i] for i in parts[0]} & {groups[i] for i in parts[1]}
    # Ten equal groups can be dealt exactly.
    assert [len(part) for part in parts] == [49, 21]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: random_split(10, (8, 3)),
        lambda: random_split(10, (0.8, 0.3)),
        lambda: random_split(10, (-1,)),
        lambda: random_split(10, ()),
        lambda: block_split(10, (0.5,), block=0),
        lambda: block_split(10, (5,)),
        lambda: block_split(10, (0.5,), groups=["a"]),
        lambda: group_split(["a"] * 4, (0.5, 0.5)),
    ],
)
def test_impossible_splits(wrong):
    with pytest.raises(InputError):
        wrong()


@pytest.mark.parametrize("n", [1, 2, 7, 64, 100, 214])
def test_every_beginning_of_a_spread_order_lies_evenly(n):
    order = spread_order(n)
    assert sorted(order.tolist()) == list(range(n))
    for count in range(1, n + 1):
        # Of the first `count` so many lie before any place as its share says, but for one for each binary digit.
        below = np.cumsum(np.bincount(order[:count], minlength=n))
        share = count * np.arange(1, n + 1) / n
        assert np.max(np.abs(below - share)) <= 1 + np.log2(n)


def test_a_spread_order_of_nothing_is_empty():
    assert len(spread_order(0)) == 0
