r"""Several posteriors of one function together: their mean, and their covariance in two terms.

Members s with shares $w_s$, such as the posteriors at draws of the hyperparameters, have means $m_s$ and covariances
$V_s$; together

    $\bar m = \sum_s w_s m_s$,   $V = \sum_s w_s V_s + \sum_s w_s (m_s - \bar m)(m_s - \bar m)^T$,

the law of total variance: *within* and *between* members.  All members have prior covariances proportional to one, so
both terms are those of one posterior with as many variables, whatever the number of members: a prediction costs what
one member's costs.
"""

from collections.abc import Iterable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, PRNGKeyArray

from gpjaxpot.arrays import AnyArray
from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.sparse import SparsePosterior
from gpjaxpot.linalg.products import multiply
from gpjaxpot.linalg.streamed_qr import StreamedQR


class Mixture(eqx.Module):
    """Mean and covariance of posteriors on the same variables (inducing ones, or data).

    Cross-covariances and priors are those of a kernel whose signal variance is the members' mean.
    """

    weights: Float[AnyArray, " variables"]
    """Mean of the members' weights."""
    whitening: Float[AnyArray, "variables some"]
    factor: Float[AnyArray, "variables rank"]
    """With A = cross · whitening, B = cross · factor, the covariance within is prior − A Aᵀ + B Bᵀ."""
    between: Float[AnyArray, "variables members"]
    """√share times the departure of each member's weights from their mean."""
    shares: Float[AnyArray, " members"]
    log_marginal_likelihood: Float[AnyArray, ""]
    """At the hyperparameters of the highest density; no member's."""

    @classmethod
    def of_sparse(
        cls,
        whitening: Float[AnyArray, "inducing rank"],
        members: Iterable[SparsePosterior],
        ratios: Sequence[float],
        log_marginal_likelihood: float,
        shares: Sequence[float] | None = None,
    ) -> "Mixture":
        """Mix sparse posteriors that are given in whitened variables, whose prior is the unit normal.

        `whitening` is that of K_uu with the mean signal variance, and `ratios` are the members' signal variances over
        the mean one.
        """
        part = _shares(shares, ratios)
        factor = StreamedQR(whitening.shape[1])
        weights = []
        for member, ratio, share in zip(members, ratios, part, strict=True):
            weights.append(np.sqrt(ratio) * np.asarray(member.weights))
            factor.add(np.sqrt(ratio * share) * np.asarray(member.factor).T)
        mean, between = _departures(weights, part)
        return cls(
            jnp.asarray(whitening @ mean),
            jnp.asarray(whitening),
            multiply(whitening, jnp.asarray(factor.fold().T)),
            multiply(whitening, jnp.asarray(between)),
            jnp.asarray(part),
            jnp.asarray(log_marginal_likelihood),
        )

    @classmethod
    def of_exact(
        cls,
        members: Iterable[ExactPosterior],
        ratios: Sequence[float],
        log_marginal_likelihood: float,
        shares: Sequence[float] | None = None,
    ) -> "Mixture":
        """Mix exact posteriors on the same data; `ratios` are their signal variances over the mean one."""
        part = _shares(shares, ratios)
        weights, known = [], None
        for member, ratio, share in zip(members, ratios, part, strict=True):
            lower = np.asarray(member.cholesky.lower)
            known = StreamedQR(len(lower)) if known is None else known
            weights.append(ratio * np.asarray(member.coefficients))
            inverse = scipy.linalg.solve_triangular(lower, np.eye(len(lower)), lower=True)
            known.add(ratio * np.sqrt(share) * inverse)
        mean, between = _departures(weights, part)
        whitening = np.zeros((len(mean), 0)) if known is None else known.fold().T
        return cls(
            jnp.asarray(mean),
            jnp.asarray(whitening),
            jnp.zeros((len(mean), 0)),
            jnp.asarray(between),
            jnp.asarray(part),
            jnp.asarray(log_marginal_likelihood),
        )

    @property
    def coefficients(self) -> Float[AnyArray, " variables"]:
        """The weights, by the name that exact posteriors have for them."""
        return self.weights

    def halves(
        self, cross: Float[AnyArray, "points variables"]
    ) -> tuple[Float[AnyArray, "points some"], Float[AnyArray, "points rank"]]:
        """Matrices A, B with covariance within = prior − A Aᵀ + B Bᵀ."""
        return multiply(cross, self.whitening), multiply(cross, self.factor)

    def departures(self, cross: Float[AnyArray, "points variables"]) -> Float[AnyArray, "points members"]:
        """Matrix C with covariance between = C Cᵀ: √share times what each member's mean departs by."""
        return multiply(cross, self.between)

    def mean(self, cross: Float[AnyArray, "points variables"]) -> Float[AnyArray, " points"]:
        """Mean of quantities whose prior covariance with the variables is `cross`."""
        return jnp.asarray(cross) @ self.weights

    def covariance(
        self, cross: Float[AnyArray, "points variables"], prior: Float[AnyArray, "points points"]
    ) -> Float[AnyArray, "points points"]:
        """Covariance within and between together, given the prior one."""
        known, left = self.halves(jnp.asarray(cross))
        apart = self.departures(jnp.asarray(cross))
        return jnp.asarray(prior) - known @ known.T + left @ left.T + apart @ apart.T

    def draw(self, key: PRNGKeyArray | Array) -> Float[AnyArray, " variables"]:
        """Weights of a function drawn from the posterior: those of a member, drawn by its share, and around them
        the members' mean covariance.

        Mean and covariance of such draws are the mixture's.  That each member has a covariance of its own is left
        out: it would take a matrix for each.
        """  # fmt: skip
        first, second = jax.random.split(key)
        member = jax.random.choice(first, len(self.shares), p=jnp.asarray(self.shares))
        noise = jax.random.normal(second, (self.factor.shape[1],))
        departure = jnp.asarray(self.between)[:, member] / jnp.sqrt(jnp.asarray(self.shares)[member])
        return self.weights + departure + self.factor @ noise


def _shares(shares: Sequence[float] | None, ratios: Sequence[float]) -> np.ndarray:
    part = np.full(len(ratios), 1.0 / len(ratios)) if shares is None else np.asarray(shares, float)
    if not (np.isclose(part.sum(), 1.0) and np.isclose(part @ np.asarray(ratios), 1.0) and part.min() >= 0):
        raise ValueError(f"shares {part} and ratios {np.asarray(ratios)} must average to 1")
    return part


def _departures(weights: list[np.ndarray], shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    stacked = np.stack(weights, axis=1)
    mean = stacked @ shares
    return mean, (stacked - mean[:, None]) * np.sqrt(shares)
