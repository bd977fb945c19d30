"""Choosing the inducing environments among all those of the training set."""

import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.errors import InputError

SELECTIONS = ("leverage", "cur", "farthest")


def select(
    vectors: Float[AnyArray, "environments features"],
    species: Int[AnyArray, " environments"],
    count: int,
    method: str,
    seed: int,
    always: Int[AnyArray, " some"] | None = None,
) -> Int[AnyArray, " chosen"]:
    """Return the places of at most `count` environments, shared out over species by their number.

    Exact copies of an environment are taken once.  `always` lists environments that must be among them.

    Raises:
        InputError: for an unknown method or a count below the number of species.
    """
    if method not in SELECTIONS:
        raise InputError(f"selection must be one of {', '.join(SELECTIONS)}, got {method!r}")
    kinds = np.unique(species)
    if count < len(kinds):
        raise InputError(f"{count} inducing environments are too few for {len(kinds)} species")
    # One number for each environment: what is left out, or moves by round-off, shifts no other choice.
    luck = np.random.default_rng(seed).random(len(vectors))
    forced = np.zeros(0, np.int64) if always is None else np.asarray(always, np.int64)
    chosen = [forced]
    shares = _shares(species, kinds, count)
    for kind, share in zip(kinds, shares, strict=True):
        pool = np.setdiff1d(_distinct(vectors, np.flatnonzero(species == kind)), forced)
        wanted = min(len(pool), int(share) - int(np.sum(species[forced] == kind)))
        if wanted <= 0:
            continue
        picker = {"farthest": _farthest, "cur": _cur, "leverage": _leverage}[method]
        chosen.append(pool[picker(vectors[pool], wanted, luck[pool])])
    return np.sort(np.concatenate(chosen))


def _shares(species: np.ndarray, kinds: np.ndarray, count: int) -> np.ndarray:
    """Numbers for each species in proportion to the square root of its environments, summing to count."""
    available = np.array([np.sum(species == k) for k in kinds])
    weights = np.sqrt(available)
    shares = np.minimum(available, np.maximum(1, np.floor(count * weights / weights.sum())))
    while shares.sum() < min(count, available.sum()):
        room = shares < available
        shares[np.argmax(np.where(room, weights / (shares + 1), -1))] += 1
    return shares.astype(int)


def _distinct(vectors: np.ndarray, places: np.ndarray) -> np.ndarray:
    rounded = np.round(vectors[places], 9)
    _, first = np.unique(rounded, axis=0, return_index=True)
    return places[np.sort(first)]


def _farthest(vectors: np.ndarray, count: int, luck: np.ndarray) -> np.ndarray:
    """Farthest-point sampling in Euclidean distance, from the vector farthest from the mean."""
    del luck
    squares = np.sum(vectors**2, axis=1)
    chosen = [int(np.argmax(np.sum((vectors - vectors.mean(0)) ** 2, axis=1)))]
    nearest = np.full(len(vectors), np.inf)
    for _ in range(count - 1):
        last = vectors[chosen[-1]]
        nearest = np.minimum(nearest, squares - 2.0 * vectors @ last + last @ last)
        nearest[chosen] = -np.inf
        chosen.append(int(np.argmax(nearest)))
    return np.array(chosen)


def _cur(vectors: np.ndarray, count: int, luck: np.ndarray) -> np.ndarray:
    """Sampling without replacement by the leverage of the best rank-k approximation.

    Source: Mahoney & Drineas, Proc. Natl. Acad. Sci. 106, 697 (2009).
    """
    values, right = _spectrum(vectors)
    rank = int(np.sum(values > 1e-7 * values[0]))
    k = max(1, min(rank, count // 2))
    scores = np.sum((vectors @ right[:, :k] / values[:k]) ** 2, axis=1)
    return _sample(scores, count, luck)


def _leverage(vectors: np.ndarray, count: int, luck: np.ndarray) -> np.ndarray:
    """Sampling without replacement by ridge leverage, with the ridge that gives count/2 degrees of freedom.

    Source: Alaoui & Mahoney, Adv. Neural Inf. Process. Syst. 28 (2015), definition 1.
    """
    values, right = _spectrum(vectors)
    squared = values**2
    low, high = np.log(squared[0]) - 40.0, np.log(squared[0])
    for _ in range(60):  # bisection: the degrees of freedom fall with the ridge
        middle = 0.5 * (low + high)
        if np.sum(squared / (squared + np.exp(middle))) > 0.5 * count:
            low = middle
        else:
            high = middle
    scores = np.sum((vectors @ right) ** 2 / (squared + np.exp(high)), axis=1)
    return _sample(scores, count, luck)


def _spectrum(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values, largest first, and right vectors."""
    values, right = np.linalg.eigh(vectors.T @ vectors)
    kept = values > max(values[-1], 0.0) * 1e-15
    return np.sqrt(values[kept])[::-1], right[:, kept][:, ::-1]


def _sample(scores: np.ndarray, count: int, luck: np.ndarray) -> np.ndarray:
    """Sampling without replacement with chances in proportion to `scores`; `luck` is uniform on [0, 1).

    Source: Efraimidis & Spirakis, Inf. Process. Lett. 97, 181 (2006).
    """
    positive = np.maximum(scores, 1e-12 * scores.max())
    return np.argsort(-np.log1p(-luck) / positive, kind="stable")[:count]
