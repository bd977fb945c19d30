"""Scores of structures left out equal those of models that never saw them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.gp.left_out import PADDING, Held, exact_score, sparse_score
from gpjaxpot.gp.levels import Weighted
from gpjaxpot.gp.sparse import whiten

NAMES = ("energy", "forces")
SIZES = (3, 5, 4)
LEVELS = {"variance": 1.7, "energy": 0.3, "forces": 0.2}
LOG = {k: jnp.log(jnp.asarray(v)) for k, v in LEVELS.items()}


@pytest.fixture(scope="module")
def data():
    """Rows of three structures against six inducing points: [k_fu], factors of σ, kinds, targets, prior."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(sum(SIZES) + 6, 3))
    gram = np.exp(-0.5 * np.sum((points[:, None] - points) ** 2, axis=2))
    n = sum(SIZES)
    kind = np.concatenate([[0] + [1] * (size - 1) for size in SIZES])
    kind[-1] = len(NAMES)  # a noise that is known
    return {
        "k": gram[:n, :n], "k_fu": gram[:n, n:], "k_uu": gram[n:, n:], "kind": kind,
        "factor": rng.uniform(0.5, 2.0, n), "y": rng.normal(size=n),
    }  # fmt: skip


def sigma(data):
    level = np.array([*(LEVELS[n] for n in NAMES), 1.0])[data["kind"]]
    return data["factor"] * level


def padded(values, fill):
    edges = np.cumsum([0, *SIZES])
    shape = (len(SIZES), max(SIZES), *np.shape(values)[1:])
    out = np.full(shape, fill, np.asarray(values).dtype)
    for s, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        out[s, : b - a] = values[a:b]
    return out


def by_refitting(data, covariance):
    """Mean over the rows of each kind of the log density that the others give, times √(rows × structures)."""
    edges, found = np.cumsum([0, *SIZES]), []
    noise = sigma(data) ** 2
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        out = np.arange(a, b)
        rest = np.setdiff1d(np.arange(len(noise)), out)
        solve = np.linalg.solve(covariance[np.ix_(rest, rest)] + np.diag(noise[rest]), covariance[rest][:, out])
        mean = solve.T @ data["y"][rest]
        variance = np.diag(covariance[np.ix_(out, out)] - covariance[np.ix_(out, rest)] @ solve)
        variance = variance + noise[out]
        found += list(-0.5 * (np.log(2 * np.pi * variance) + (data["y"][out] - mean) ** 2 / variance))
    total, owner = 0.0, np.repeat(np.arange(len(SIZES)), SIZES)
    for k in range(len(NAMES) + 1):
        own = data["kind"] == k
        total += np.mean(np.array(found)[own]) * np.sqrt(np.sum(own) * len(np.unique(owner[own])))
    return total


def test_exact_equals_refitting(data):
    places = padded(np.arange(sum(SIZES)), sum(SIZES))
    score = exact_score(
        LOG, jnp.asarray(data["k"]), jnp.asarray(data["factor"]), jnp.asarray(data["kind"]), jnp.asarray(data["y"]),
        jnp.asarray(places), NAMES,
    )  # fmt: skip
    expected = by_refitting(data, LEVELS["variance"] * data["k"])
    assert float(score) == pytest.approx(expected, abs=1e-9)


def sparse_arguments(data):
    whitening = whiten(data["k_uu"])
    factor = data["factor"]
    white, y = data["k_fu"] @ whitening / factor[:, None], data["y"] / factor
    spare = (np.diag(data["k"]) - np.sum((data["k_fu"] @ whitening) ** 2, 1)) / factor**2
    parts = {}
    for kind, name in enumerate((*NAMES, "fixed")):
        a, b = white[data["kind"] == kind], y[data["kind"] == kind]
        log_noise = 2.0 * float(np.sum(np.log(factor[data["kind"] == kind])))
        parts[name] = Weighted(
            jnp.asarray(a.T @ a), jnp.asarray(a.T @ b), jnp.asarray(b @ b), jnp.asarray(log_noise), len(b),
            name == "fixed",
        )  # fmt: skip
    held = Held(
        jnp.asarray(padded(white, 0.0)), jnp.asarray(padded(y, 0.0)), jnp.asarray(padded(spare, 0.0)),
        jnp.asarray(padded(np.log(factor), 0.0)), jnp.asarray(padded(data["kind"], PADDING)),
    )  # fmt: skip
    return parts, held


def test_sparse_equals_refitting(data):
    parts, held = sparse_arguments(data)
    score = sparse_score(LOG, parts, held, NAMES)
    known = data["k_fu"] @ whiten(data["k_uu"])
    covariance = LEVELS["variance"] * known @ known.T
    assert float(score) == pytest.approx(by_refitting(data, covariance), abs=1e-9)


def test_gradient_equals_finite_differences(data):
    parts, held = sparse_arguments(data)
    gradient = jax.grad(lambda x: sparse_score(x, parts, held, NAMES))(LOG)
    h = 1e-5
    for name, slope in gradient.items():
        ahead, behind = (sparse_score(LOG | {name: LOG[name] + s * h}, parts, held, NAMES) for s in (1, -1))
        assert float(slope) == pytest.approx(float(ahead - behind) / (2 * h), rel=1e-6, abs=1e-8)
