"""The sparse posterior: acceptance numbers, and equality with the exact one where theory says so."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.sparse import SparsePosterior, whiten
from gpjaxpot.linalg.streamed_qr import StreamedQR
from tests.gp.curves import covariance, energies, forces, squared_exponential


def condition(k_uu, k_fu, noise, targets):
    return SparsePosterior.condition(*map(jnp.asarray, (k_uu, k_fu, noise, targets)))


class TestAcceptance:
    """Squared exponential, two inducing points, six data on a line."""

    kernel = staticmethod(squared_exponential(1.0, 0.5))
    data = energies(*np.linspace(0.0, 1.0, 6))
    inducing = energies(0.0, 1.0)
    noise = np.full(6, 0.01)

    def cov(self, a, b):
        return jnp.asarray(covariance(self.kernel, a, b))

    def test_variance_in_the_middle(self):
        at = energies(0.5)
        k_uu, k_fu = self.cov(self.inducing, self.inducing), self.cov(self.data, self.inducing)
        posterior = condition(k_uu, k_fu, self.noise, np.ones(6))
        cross, prior = self.cov(at, self.inducing), self.cov(at, at)
        total = float(posterior.variance(cross, prior[0])[0])
        residual = float(prior[0, 0]) - np.sum(np.asarray(cross @ posterior.whitening) ** 2)
        explained = np.sum(np.asarray(cross @ posterior.factor) ** 2)
        assert residual == pytest.approx(0.3519457263, abs=1e-8)
        assert explained == pytest.approx(0.0017458878, abs=1e-8)
        assert total == pytest.approx(0.3536916142, abs=1e-8)
        assert float(posterior.covariance(cross, prior)[0, 0]) == pytest.approx(total, abs=1e-14)
        exact = ExactPosterior.condition(self.cov(self.data, self.data), jnp.asarray(self.noise), jnp.ones(6))
        assert float(exact.variance(self.cov(at, self.data), prior[0])[0]) == pytest.approx(0.0047868076, abs=1e-8)

    def test_far_from_everything_the_prior_returns(self):
        at = energies(30.0)
        k_uu, k_fu = self.cov(self.inducing, self.inducing), self.cov(self.data, self.inducing)
        posterior = condition(k_uu, k_fu, self.noise, np.ones(6))
        cross = self.cov(at, self.inducing)
        assert float(posterior.variance(cross, jnp.ones(1))[0]) == 1.0
        assert float(posterior.mean(cross)[0]) == 0.0


@pytest.fixture(scope="module")
def low_rank():
    """A kernel of ten features, more inducing points than that, energies and derivatives."""
    rng = np.random.default_rng(0)
    w = {name: rng.normal(size=(n, 10)) for name, n in (("u", 14), ("f", 40), ("p", 6))}
    return w, rng.uniform(0.05, 0.2, 40) ** 2, rng.normal(size=40)


def test_equal_to_exact_when_inducing_points_span_the_features(low_rank):
    w, noise, y = low_rank
    k = {a + b: jnp.asarray(w[a] @ w[b].T) for a in w for b in w}
    sparse = condition(k["uu"], k["fu"], noise, y)
    exact = ExactPosterior.condition(k["ff"], jnp.asarray(noise), jnp.asarray(y))
    assert sparse.whitening.shape[1] == 10  # the other four directions are round-off
    # The prior scale is 10; the smallest of ten eigenvalues of K_uu costs two digits.
    np.testing.assert_allclose(sparse.mean(k["pu"]), exact.mean(k["pf"]), atol=1e-10)
    np.testing.assert_allclose(sparse.covariance(k["pu"], k["pp"]), exact.covariance(k["pf"], k["pp"]), atol=1e-10)
    assert float(sparse.log_marginal_likelihood) == pytest.approx(float(exact.log_marginal_likelihood), abs=1e-8)


def test_equal_to_exact_when_all_data_are_inducing():
    kernel = squared_exponential(0.8, 0.5)
    data, points = energies(0.0, 0.4, 0.9, 1.5), [*energies(0.6), *forces(0.6)]
    prior, cross = covariance(kernel, data, data), jnp.asarray(covariance(kernel, points, data))
    noise, y = np.full(4, 1e-4), np.array([0.1, -0.4, 0.2, 0.8])
    own = jnp.asarray(covariance(kernel, points, points))
    sparse = condition(prior, prior, noise, y)
    exact = ExactPosterior.condition(*map(jnp.asarray, (prior, noise, y)))
    np.testing.assert_allclose(sparse.mean(cross), exact.mean(cross), atol=1e-11)
    np.testing.assert_allclose(sparse.covariance(cross, own), exact.covariance(cross, own), atol=1e-11)


def test_evidence_is_that_of_the_low_rank_model():
    rng = np.random.default_rng(1)
    w = rng.normal(size=(12, 30))
    k = w @ w.T / 30
    noise, y = rng.uniform(0.1, 0.3, 8), rng.normal(size=8)
    nystrom = k[4:, :4] @ np.linalg.solve(k[:4, :4], k[:4, 4:])
    expected = multivariate_normal(np.zeros(8), nystrom + np.diag(noise)).logpdf(y)
    sparse = condition(k[:4, :4], k[4:, :4], noise, y)
    assert float(sparse.log_marginal_likelihood) == pytest.approx(expected, abs=1e-10)


def test_rows_may_be_folded_first(low_rank):
    w, noise, y = low_rank
    k_uu, k_fu = w["u"] @ w["u"].T, w["f"] @ w["u"].T
    rows = np.concatenate([k_fu, y[:, None]], 1) / np.sqrt(noise)[:, None]
    stream = StreamedQR(15)
    for block in np.array_split(rows, 7):
        stream.add(block)
    folded = SparsePosterior.from_rows(whiten(jnp.asarray(k_uu)), stream.fold(), 40, float(np.sum(np.log(noise))))
    direct = condition(k_uu, k_fu, noise, y)
    np.testing.assert_allclose(k_fu @ folded.weights, k_fu @ direct.weights, atol=1e-10 * np.abs(y).max())
    assert float(folded.log_marginal_likelihood) == pytest.approx(float(direct.log_marginal_likelihood), rel=1e-10)


def test_more_data_never_raise_any_variance(low_rank):
    w, noise, y = low_rank
    k_uu, k_fu = w["u"] @ w["u"].T, w["f"] @ w["u"].T
    cross, prior = jnp.asarray(w["p"] @ w["u"].T), jnp.asarray(w["p"] @ w["p"].T)
    few = condition(k_uu, k_fu[:15], noise[:15], y[:15]).covariance(cross, prior)
    many = condition(k_uu, k_fu, noise, y).covariance(cross, prior)
    assert np.linalg.eigvalsh(np.asarray(few - many)).min() > -1e-11
