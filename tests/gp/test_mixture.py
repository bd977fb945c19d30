"""Mixtures of posteriors against sums over their members, one by one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.mixture import Mixture
from gpjaxpot.gp.noise import Noise
from gpjaxpot.gp.sparse import SparsePosterior, whiten
from gpjaxpot.linalg.cholesky import Cholesky
from gpjaxpot.potential.prediction import Prediction

# Acceptance case AT-5: shares, means, variances of the function, variances of the noise.
SHARES = (0.3, 0.5, 0.2)
MEANS = (-1.00, -1.10, -0.95)
VARIANCES = (0.0100, 0.0064, 0.0225)
NOISE = (0.0004, 0.0009, 0.0016)

X = np.linspace(0.0, 2.0, 9)
NEW = np.array([-0.4, 0.33, 1.1, 2.9])
U = np.array([0.1, 0.7, 1.3, 1.9])
Y = np.sin(2.0 * X) + 0.3 * np.cos(7.0 * X)
# Signal variance and noise σ of four members.
LEVELS = ((0.5, 0.1), (1.0, 0.2), (2.5, 0.05), (1.7, 0.4))
PARTS = (0.1, 0.4, 0.3, 0.2)


def gram(a, b):
    return np.exp(-0.5 * (a[:, None] - b[None]) ** 2 / 0.5**2)


def at5(kind):
    """One variable of unit prior variance, with members whose posteriors are those of AT-5."""
    one = jnp.ones((1, 1))
    if kind == "sparse":
        members = [
            SparsePosterior(jnp.array([m]), one, jnp.array([[np.sqrt(v)]]), jnp.zeros(()))
            for m, v in zip(MEANS, VARIANCES, strict=True)
        ]
        return Mixture.of_sparse(np.ones((1, 1)), members, [1.0] * 3, 0.0, SHARES)
    members = [
        ExactPosterior(Cholesky(one / np.sqrt(1.0 - v), 0.0), jnp.array([m]), jnp.zeros(1))
        for m, v in zip(MEANS, VARIANCES, strict=True)
    ]
    return Mixture.of_exact(members, [1.0] * 3, 0.0, SHARES)


@pytest.mark.parametrize("kind", ["sparse", "exact"])
def test_three_terms_of_the_law_of_total_variance(kind):
    mixture, cross = at5(kind), jnp.ones((1, 1))
    known, left = mixture.halves(cross)
    within = float(1.0 - np.sum(known**2) + np.sum(left**2))
    between = float(np.sum(mixture.departures(cross) ** 2))
    assert float(mixture.mean(cross)[0]) == pytest.approx(-1.04, abs=1e-12)
    assert within == pytest.approx(0.0107, abs=1e-12)
    assert between == pytest.approx(0.0039, abs=1e-12)
    level = float(np.sqrt(np.dot(SHARES, NOISE)))
    aleatoric = Noise(level, None, None, reported=(level, None, None)).predicted("energy", 1)
    assert aleatoric**2 == pytest.approx(8.9e-4, abs=1e-15)
    p = Prediction(
        -1.04, np.array([-1.04]), np.zeros((1, 3)),
        energy_epistemic_std=float(np.sqrt(mixture.covariance(cross, cross)[0, 0])), energy_aleatoric_std=aleatoric,
    )  # fmt: skip
    assert p.energy_std**2 == pytest.approx(0.01549, abs=1e-12)
    assert p.energy_std == pytest.approx(0.1244588, abs=5e-8)


def brute(kind, levels, shares):
    """Mean, covariance within and between, member by member with its own kernel."""
    means, covariances = [], []
    for v, s in levels:
        noise = np.full(len(X), s**2)
        if kind == "sparse":
            p = SparsePosterior.condition(v * gram(U, U), v * gram(X, U), noise, Y)
            cross = v * gram(NEW, U)
        else:
            p = ExactPosterior.condition(v * gram(X, X), noise, jnp.asarray(Y))
            cross = v * gram(NEW, X)
        means.append(np.asarray(p.mean(cross)))
        covariances.append(np.asarray(p.covariance(cross, v * gram(NEW, NEW))))
    mean = np.einsum("s,sp->p", shares, means)
    apart = np.array(means) - mean
    return mean, np.einsum("s,spq->pq", shares, covariances), np.einsum("s,sp,sq->pq", shares, apart, apart)


def mixed(kind, levels, shares):
    """The same mixture, its mean signal variance, and cross-covariances that go with it."""
    mean = float(np.dot(shares, [v for v, _ in levels]))
    ratios = [v / mean for v, _ in levels]
    if kind == "exact":
        members = [
            ExactPosterior.condition(v * gram(X, X), np.full(len(X), s**2), jnp.asarray(Y)) for v, s in levels
        ]
        return Mixture.of_exact(members, ratios, 0.0, shares), mean, mean * gram(NEW, X)
    w = whiten(gram(U, U))
    rank = w.shape[1]
    members = []
    for v, s in levels:
        rows = np.column_stack([np.sqrt(v) * gram(X, U) @ w, Y]) / s
        members.append(SparsePosterior.from_rows(np.eye(rank), rows, len(X), 0.0))
    return Mixture.of_sparse(w / np.sqrt(mean), members, ratios, 0.0, shares), mean, mean * gram(NEW, U)


@pytest.mark.parametrize("kind", ["sparse", "exact"])
def test_equals_the_sum_over_members(kind):
    mixture, variance, cross = mixed(kind, LEVELS, PARTS)
    mean, within, between = brute(kind, LEVELS, PARTS)
    known, left = (np.asarray(h) for h in mixture.halves(jnp.asarray(cross)))
    apart = np.asarray(mixture.departures(jnp.asarray(cross)))
    # Matrices of condition 1e4, and of the squares of their entries.
    np.testing.assert_allclose(mixture.mean(cross), mean, atol=1e-10)
    np.testing.assert_allclose(variance * gram(NEW, NEW) - known @ known.T + left @ left.T, within, atol=1e-10)
    np.testing.assert_allclose(apart @ apart.T, between, atol=1e-10)
    total = mixture.covariance(jnp.asarray(cross), jnp.asarray(variance * gram(NEW, NEW)))
    np.testing.assert_allclose(total, within + between, atol=1e-10)


@pytest.mark.parametrize("kind", ["sparse", "exact"])
def test_members_that_are_all_alike_are_one(kind):
    mixture, variance, cross = mixed(kind, LEVELS[:1] * 4, PARTS)
    mean, within, _ = brute(kind, LEVELS[:1], (1.0,))
    assert abs(np.asarray(mixture.between)).max() < 1e-12 * abs(np.asarray(mixture.weights)).max()
    np.testing.assert_allclose(mixture.mean(cross), mean, atol=1e-11)
    covariance = mixture.covariance(jnp.asarray(cross), jnp.asarray(variance * gram(NEW, NEW)))
    np.testing.assert_allclose(covariance, within, atol=1e-11)


def test_draws_have_the_mean_and_covariance_that_the_variables_explain():
    mixture, _, cross = mixed("sparse", LEVELS, PARTS)
    # Members as far apart as each is uncertain, so that both terms are seen.
    mixture = eqx.tree_at(lambda m: m.between, mixture, 5.0 * mixture.between)
    keys = jax.random.split(jax.random.key(0), 8000)
    draws = np.asarray(jax.vmap(mixture.draw)(keys) @ cross.T)
    _, left = mixture.halves(jnp.asarray(cross))
    apart = np.asarray(mixture.departures(jnp.asarray(cross)))
    expected = np.asarray(left @ left.T) + apart @ apart.T
    std = np.sqrt(np.diag(expected))
    # Errors of 1/√8000 = 1.1 % of a mean and 1.6 % of a variance, five of them.
    np.testing.assert_allclose(draws.mean(0), mixture.mean(cross), atol=0.056 * std.max())
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.08 * std.max() ** 2)


def test_shares_that_are_none_are_refused():
    with pytest.raises(ValueError, match="average to 1"):
        mixed("sparse", LEVELS, (0.1, 0.4, 0.3, 0.3))
