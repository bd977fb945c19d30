"""A kernel that is linear in features is Bayesian linear regression on them: known answers, and last-layer spreads.

Numbers are given to ten digits, so the tolerance is 1e-8 where nothing else is said.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.covariance.features import environments
from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.laplace import laplace
from gpjaxpot.gp.sparse import SparsePosterior
from tests.covariance.zoo import KERNELS, PLACES, padded
from tests.systems import observed, quick_jit, staged_block, structure

TOLERANCE = 1e-8
# Intercept and slope of a line, with prior variance 1/α = 1 of either and noise variance 1/β.
LINE = np.array([[1.0, 0.5], [1.0, 1.5], [1.0, 2.5]])
LABELS = np.array([1.0, 2.0, 2.8])
BETA = 25.0
EVIDENCE = -2.7373104010


def exact(features, prior, noise, labels):
    """The posterior of labels, and what asks it for new features."""
    gram = prior * features @ features.T
    posterior = ExactPosterior.condition(jnp.asarray(gram), jnp.full(len(labels), noise), jnp.asarray(labels))
    return posterior, lambda new: (jnp.asarray(prior * new @ features.T), jnp.asarray(prior * new @ new.T))


def sparse(features, prior, noise, labels):
    """The same with the weights themselves as inducing variables."""
    k_uu, k_fu = prior * np.eye(features.shape[1]), prior * features
    posterior = SparsePosterior.condition(k_uu, k_fu, np.full(len(labels), noise), labels)
    return posterior, lambda new: (jnp.asarray(prior * new), jnp.asarray(prior * new @ new.T))


@pytest.mark.parametrize("kind", [exact, sparse])
def test_a_line_through_three_labels(kind):
    posterior, at = kind(LINE, 1.0, 1.0 / BETA, LABELS)
    cross, prior = at(np.eye(2))
    covar = np.asarray(posterior.covariance(cross, prior))
    np.testing.assert_allclose(posterior.mean(cross), [0.5766734656, 0.8993139255], atol=TOLERANCE)
    np.testing.assert_allclose(np.diagonal(covar), [0.0543296866, 0.0187897892], atol=TOLERANCE)
    assert float(posterior.log_marginal_likelihood) == pytest.approx(EVIDENCE, abs=TOLERANCE)


def test_weights_without_correlations_are_too_sure_and_a_worse_bound():
    """The best normal distribution without correlations has the reciprocals of the precision's diagonal.

    Its bound on the evidence lies half the logarithm of det diag Λ / det Λ below it.
    Source: Bishop, *Pattern Recognition and Machine Learning* (2006), section 10.1.2.
    """

    def log_joint(x):
        w = jnp.stack([x["intercept"], x["slope"]])
        misfit = jnp.asarray(LABELS) - jnp.asarray(LINE) @ w
        fit = -0.5 * BETA * misfit @ misfit + 1.5 * jnp.log(BETA / (2 * jnp.pi))
        return fit - 0.5 * w @ w - jnp.log(2 * jnp.pi)

    # Of a normal density the approximation is the posterior, and its volume makes the evidence.
    found = laplace(log_joint, {"intercept": 1.0, "slope": 1.0})
    np.testing.assert_allclose(found.mode, [0.5766734656, 0.8993139255], atol=TOLERANCE)
    _, volume = np.linalg.slogdet(2 * np.pi * found.covariance)
    assert found.log_density + 0.5 * volume == pytest.approx(EVIDENCE, abs=TOLERANCE)
    apart = 1.0 / np.diagonal(np.linalg.inv(found.covariance))
    np.testing.assert_allclose(apart, [0.0131578947, 0.0045506257], atol=TOLERANCE)
    assert np.all(apart < np.diagonal(found.covariance))
    bound = found.log_density + 0.5 * np.sum(np.log(2 * np.pi * apart))
    assert bound == pytest.approx(-3.4463348280, abs=TOLERANCE)
    assert EVIDENCE - bound == pytest.approx(0.7090244270, abs=TOLERANCE)


@pytest.mark.parametrize("kind", [exact, sparse])
@pytest.mark.parametrize("noise", [0.3, 2.0])
def test_last_layer_spreads_are_those_of_the_posterior(kind, noise):
    """σ² = α² fᵀ(FᵀF + ς²)⁻¹f, with α² the noise and ς² the noise in units of the prior variance.

    Source: Bigi, Chong, Ceriotti & Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024).
    """
    features, new = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]]), np.array([[1.0, 5.0]])
    regularisation = 0.1
    posterior, at = kind(features, noise / regularisation, noise, np.ones(4))
    cross, prior = at(new)
    expected = noise * 2.5951398441
    # The prior variance, 260 times the noise, loses three digits.
    assert float(posterior.variance(cross, jnp.diagonal(prior))[0]) == pytest.approx(expected, rel=TOLERANCE)
    assert float(posterior.covariance(cross, prior)[0, 0]) == pytest.approx(expected, rel=TOLERANCE)


@quick_jit
def summed(kernel, batch):
    """Sum of the vectors of a padded structure, and its derivatives by the positions."""

    def total(positions):
        found = environments(kernel, eqx.tree_at(lambda b: b.positions, batch, positions)).features[0]
        return jnp.sum(found * batch.atom_mask, axis=1)

    return total(batch.positions), jax.jacfwd(total)(batch.positions)


def test_energies_and_forces_of_structures_have_last_layer_spreads():
    """Of ζ = 1 the energy's features are the sum of the vectors, a force's minus its slope.

    With rows weighted by the noise of their labels, C = Σ f fᵀ of energies and forces alike, forces have the covariance
    α² G(C + ς²)⁻¹Gᵀ: 3 × 3 of each atom, and the whole of it.
    """
    kernel = KERNELS["ζ = 1"]
    frames = [structure(n=3), structure(n=4, periodic=False, seed=5), structure(n=4, seed=9)]
    rows, seen = [], []
    for s in frames:
        value, slope = summed(kernel, padded(kernel, s))
        forces = -np.moveaxis(np.asarray(slope)[:, : len(s)], 0, -1).reshape(3 * len(s), -1)
        rows.append(np.concatenate([np.asarray(value)[None], forces]))
        seen.append(observed(len(s), PLACES)[: 1 + 3 * len(s)])

    def covariance(first, second):
        """Prior covariance of energies and forces, made as for any kernel."""
        batches = [padded(kernel, s) for s in frames]
        row = [[staged_block(kernel, batches[i], batches[j])[np.ix_(seen[i], seen[j])] for j in second] for i in first]
        return jnp.block(row)

    noise = np.concatenate([np.r_[0.03, np.full(len(r) - 1, 0.1)] for r in rows[:2]]) ** 2
    prior = covariance([0, 1], [0, 1])
    posterior = ExactPosterior.condition(prior, jnp.asarray(noise), jnp.zeros(len(noise)))
    found = posterior.covariance(covariance([2], [0, 1]), covariance([2], [2]))

    scale = 0.01  # α² is any noise variance: weights of rows are in units of it
    weighted = np.concatenate(rows[:2]) * np.sqrt(scale / noise)[:, None]
    inverse = np.linalg.inv(weighted.T @ weighted + scale * np.eye(weighted.shape[1]))
    # Variances left of forces are some 1e-3; priors of up to 16 and a condition number of 3e4 have errors of 1e-14.
    np.testing.assert_allclose(found, scale * rows[2] @ inverse @ rows[2].T, atol=1e-12)
