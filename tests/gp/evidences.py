"""Densities over logarithms with known moments: a normal one, and evidences of small exact GPs, by a grid."""

import jax
import jax.numpy as jnp
import numpy as np

from gpjaxpot.gp.laplace import with_prior
from gpjaxpot.gp.levels import exact_evidence

MEAN = np.array([0.4, -1.3])
COVARIANCE = np.array([[0.5, 0.3], [0.3, 0.4]])
PRECISION = jnp.asarray(np.linalg.inv(COVARIANCE))
NAMES = ("variance", "noise")


def normal(x):
    """Log density of a correlated normal distribution, but for a constant."""
    d = jnp.stack([x["a"], x["b"]]) - MEAN
    return -0.5 * d @ PRECISION @ d


def gp_density(n, width):
    """Posterior over (variance, noise) of an exact GP on a line with `n` labels drawn from it."""
    rng = np.random.default_rng(2)
    x = np.linspace(0.0, 0.12 * n, n)
    k = np.exp(-0.5 * (x[:, None] - x[None]) ** 2 / 0.3**2)
    y = np.linalg.cholesky(k + 0.04 * np.eye(n)) @ rng.normal(size=n)
    arguments = jnp.asarray(k), jnp.ones(n), jnp.zeros(n, jnp.int32), jnp.asarray(y)

    def evidence(levels):
        return exact_evidence(levels, *arguments, ("noise",))

    return with_prior(evidence, {"variance": 1.0, "noise": 0.2}, width)


few_labels = gp_density(6, 1.5)
many_labels = gp_density(60, 4.0)


def grid_moments(density, half=6.0, count=121):
    """Mean and covariance of the logarithms by summing over a fine grid."""
    a = np.linspace(-half, half, count)
    b = np.linspace(np.log(0.2) - half, np.log(0.2) + half, count)
    places = jnp.asarray(np.stack(np.meshgrid(a, b, indexing="ij"), -1).reshape(-1, 2))
    value = jax.jit(lambda p: jax.lax.map(lambda x: density({"variance": x[0], "noise": x[1]}), p))
    logs = np.asarray(value(places))
    mass = np.exp(logs - logs.max())
    mass /= mass.sum()
    mean = mass @ np.asarray(places)
    apart = np.asarray(places) - mean
    return mean, (apart * mass[:, None]).T @ apart
