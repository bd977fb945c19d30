"""Index sets that cut a data set in parts: at random, or in blocks of time or group."""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Int

from gpjaxpot.errors import InputError

Sizes = Sequence[int | float]


def random_split(n: int, sizes: Sizes, *, seed: int = 0) -> tuple[Int[np.ndarray, " part"], ...]:
    """Return disjoint, sorted index arrays, drawn at random from 0 … n-1.

    Args:
        n: number of structures.
        sizes: of each part, as counts or as fractions of `n`; what is left over is in none.
        seed: same seed, same parts.

    Raises:
        InputError: if the sizes do not fit into `n`.
    """
    counts = _counts(n, sizes)
    order = np.random.default_rng(seed).permutation(n)
    ends = np.cumsum([0, *counts])
    return tuple(np.sort(order[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True))


def block_split(
    n: int,
    fractions: Sizes,
    *,
    block: int = 10,
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> tuple[Int[np.ndarray, " part"], ...]:
    """Return disjoint, sorted index arrays made of runs of structures that stay together.

    Neighbours along a trajectory are nearly the same structure; split at random, they tell a
    model the answers of its test. Each group is cut, in its order, into runs of at most `block`
    structures, all about as long, and each run goes whole into one part, so every part has a
    share of each group that is large enough.

    Args:
        n: number of structures, in the order of their trajectories.
        fractions: share of each part; their sum is at most 1.
        block: length of a run at the most.
        groups: name of each structure's group or trajectory; one group if not given.
        seed: same seed, same parts.

    Raises:
        InputError: if the fractions or the block are not possible, or groups are not `n`.
    """
    if block < 1:
        raise InputError(f"block must be at least 1, got {block}")
    names = _checked_groups(n, groups)
    if any(isinstance(f, int) and f > 1 for f in fractions):
        raise InputError(f"block_split takes fractions between 0 and 1, got {list(fractions)}")
    _counts(n, [float(f) for f in fractions])
    generator = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in fractions]
    ends = np.cumsum([0.0, *fractions])
    for members in names.values():
        runs = np.array_split(members, -(-len(members) // block))
        order = generator.permutation(len(runs))
        marks = np.rint(ends * len(runs)).astype(int)
        for part, a, b in zip(parts, marks[:-1], marks[1:], strict=True):
            for run in order[a:b]:
                part.extend(runs[run].tolist())
    return tuple(np.array(sorted(part), dtype=np.int64) for part in parts)


def group_split(
    groups: Sequence[Hashable], fractions: Sizes, *, seed: int = 0
) -> tuple[Int[np.ndarray, " part"], ...]:
    """Return disjoint, sorted index arrays that share no group.

    Whole groups are dealt, in random order, each to the part that is furthest below its
    share; so parts have their fractions only as nearly as the groups allow.

    Args:
        groups: name of each structure's group.
        fractions: share of each part; a sum below 1 leaves groups out.
        seed: same seed, same parts.

    Raises:
        InputError: if the fractions are not possible or there are fewer groups than parts.
    """
    n = len(groups)
    counts = _counts(n, [float(f) for f in fractions])
    names = _checked_groups(n, groups)
    wanted = np.array([*counts, n - sum(counts)], dtype=float)
    if len(names) < np.count_nonzero(wanted[:-1]):
        raise InputError(f"{len(names)} groups cannot be dealt to {len(counts)} parts")
    parts: list[list[int]] = [[] for _ in wanted]
    order = np.random.default_rng(seed).permutation(len(names))
    members = list(names.values())
    for which in order:
        lack = wanted - [len(part) for part in parts]
        parts[int(np.argmax(lack))].extend(members[which])
    return tuple(np.array(sorted(part), dtype=np.int64) for part in parts[:-1])


def spread_order(n: int) -> Int[np.ndarray, " n"]:
    """Return 0 … n-1 in an order whose every beginning lies evenly among them: by their binary digits, reversed.

    The first few of a trajectory, or of a file that goes from one kind of structure to the next, are then a fair sample
    of it, without a draw that may miss a kind.

    Source: J. G. van der Corput, Verteilungsfunktionen, Proc. Akad. Amsterdam 38, 813 (1935).
    """
    digits = max(1, (max(n, 1) - 1).bit_length())
    places = np.arange(1 << digits)
    reversed_ = np.zeros_like(places)
    for digit in range(digits):
        reversed_ |= ((places >> digit) & 1) << (digits - 1 - digit)
    return reversed_[reversed_ < n]


def _checked_groups(n: int, groups: Sequence[Hashable] | None) -> dict[Hashable, list[int]]:
    if groups is None:
        return {None: list(range(n))}
    if len(groups) != n:
        raise InputError(f"{len(groups)} group names for {n} structures")
    names: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        names.setdefault(group, []).append(i)
    return names


def _counts(n: int, sizes: Sizes) -> list[int]:
    if any(size < 0 for size in sizes) or not sizes:
        raise InputError(f"sizes must be positive, got {list(sizes)}")
    if all(isinstance(size, int) for size in sizes):
        counts = [int(size) for size in sizes]
        if sum(counts) > n:
            raise InputError(f"parts of {counts} need {sum(counts)} structures, there are {n}")
        return counts
    if sum(sizes) > 1 + 1e-9:
        raise InputError(f"fractions {list(sizes)} add up to more than 1")
    ends = np.rint(np.cumsum([0.0, *sizes]) * n).astype(int)
    return np.diff(ends).tolist()
