r"""Predictions of structures that are left out, each with all its labels, in closed form.

Components of one structure, and their errors, go together: leaving out one at a time leaves its neighbours in
and flatters the model.  Leaving out all rows s of a structure from A = K + Σ gives

    $y_s - μ_{-s} = [A^{-1}]_{ss}^{-1} [A^{-1} y]_s$,   $\mathrm{cov}_{-s} + Σ_s = [A^{-1}]_{ss}^{-1}$,

and in weight space, with rows Ψ in units of the noise, residuals r and $H_s = Ψ_s (1 + Ψ^TΨ)^{-1} Ψ_s^T$,

    $(1 - H_s)^{-1} r_s$   and   $(1 - H_s)^{-1}$.

A new structure has no inducing environments of its own.  One that is left out has: they explain its prior variance
though nothing is known of them, and follow what is known of others closer than those of others could.  What a new one
would have is the spread and the error of the model without them.  Directions of Ψ that no others span are taken out of
its rows, whose squares go to the variance that features leave out, and out of the weights.

Source: Rasmussen & Williams (2006), §5.4.2, for blocks instead of single points; Cook & Weisberg, *Residuals and
Influence in Regression* (1982), for weight space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.gp.levels import Weighted, log_factor, normal_equations
from gpjaxpot.gp.noise import OBSERVABLES

PADDING = -1
# A direction of the features is a structure's own if others have no part in it but round-off.
OWN = 1.0 - 1e-6
# Weight of each kind of label (energy, forces, stress) in the accuracy.
WEIGHTS = (1.0, 1.0, 0.5)
# Of the typical error of a kind of label, at least this share is reported as noise.
LEAST_NOISE = 0.03
SCALES = (0.01, 100.0)
# Kinds in the order in which their scales are found: the first that there are labels of has that of the process, and
# the logarithms of the others' scales a prior so wide around it.
ORDER = tuple(OBSERVABLES.index(name) for name in ("forces", "energy", "stress"))
APART = 0.5


class Held(eqx.Module):
    """Rows of the structures that are left out in turn; padded to equal numbers of rows.

    Features are those of unit signal variance, whitened.  All is divided by what is known of each σ; `kind` says which
    level multiplies it, by its place among the names, −1 for a row of padding, the number of names for none.
    """

    rows: Float[AnyArray, "structures rows rank"]
    targets: Float[AnyArray, "structures rows"]
    spare: Float[AnyArray, "structures rows"]
    """Prior variance that the features leave out, for unit signal variance."""
    log_sigma: Float[AnyArray, "structures rows"]
    """Logarithm of what each row was divided by."""
    kind: Int[AnyArray, "structures rows"]
    own: Float[AnyArray, "structures own rank"]
    """Orthonormal directions of the features that only the structure's own inducing environments span, or zeros."""


class LeftOut(eqx.Module):
    """Each label of each structure, predicted without that structure."""

    error: Float[AnyArray, "structures rows"]
    """By all inducing environments: one model is compared with another by these."""
    new_error: Float[AnyArray, "structures rows"]
    """By those that are not the structure's own, as of a new one: what spreads are compared with."""
    epistemic: Float[AnyArray, "structures rows"]
    """Variance of the prediction, without noise."""
    unit: Float[AnyArray, "structures rows"]
    """σ of a label whose level is 1."""
    kind: Int[AnyArray, "structures rows"]

    def with_errors(self, errors: Float[AnyArray, "structures rows"]) -> "LeftOut":
        """With the errors of another mean, that has no inducing environments."""
        return replace(self, error=jnp.asarray(errors), new_error=jnp.asarray(errors))

    @property
    def as_new(self) -> "LeftOut":
        """With the errors that new structures would have."""
        return replace(self, error=self.new_error)


def own_directions(
    whitening: Float[AnyArray, "inducing rank"], owned: Sequence[Int[AnyArray, "_"]]
) -> list[Float[np.ndarray, "_ rank"]]:
    """For each structure, orthonormal directions of whitened features that only its own inducing environments span.

    `owned` are their places.  Rows of the whitening are orthogonal to the features of all other environments, where
    none depends on others.
    """
    whitening, found = np.asarray(whitening), []
    lengths = np.linalg.norm(whitening, axis=0)
    for places in owned:
        mine = whitening[places]
        shares, mixed = np.linalg.eigh((mine / lengths) @ (mine / lengths).T)
        found.append(np.linalg.qr((mixed[:, shares > OWN].T @ mine).T)[0].T)
    return found


@eqx.filter_jit
def sparse_left_out(
    log_levels: dict[str, Float[AnyArray, ""]],
    parts: dict[str, Weighted],
    held: Held,
    names: tuple[str, ...],
) -> LeftOut:
    """Predict the structures in `held`, each left out in turn of all data, whose normal equations are `parts`."""
    gram, projected, *_ = normal_equations(log_levels, parts)
    lower = jnp.linalg.cholesky(jnp.eye(gram.shape[0], dtype=gram.dtype) + gram)
    log_sigma = log_factor(log_levels, held.kind, names)
    scale = jnp.exp(-log_sigma) * (held.kind != PADDING)
    variance = jnp.exp(log_levels["variance"])
    rows = held.rows * (jnp.sqrt(variance) * scale)[:, :, None]
    half = jax.scipy.linalg.solve_triangular(lower, projected, lower=True)
    flat = rows.reshape(-1, rows.shape[2])
    reached = jax.scipy.linalg.solve_triangular(lower, flat.T, lower=True)
    residual = held.targets * scale - (half @ reached).reshape(held.kind.shape)
    by_structure = jnp.moveaxis(reached.reshape(-1, *held.kind.shape), 0, 1)  # [structure, rank, row]
    identity = jnp.eye(held.kind.shape[1], dtype=rows.dtype)
    without = identity - jnp.einsum("sfa,sfb->sab", by_structure, by_structure)
    factor = jnp.linalg.cholesky(without)
    error = jax.scipy.linalg.cho_solve((factor, True), residual[:, :, None])[:, :, 0]
    unit = jnp.exp(held.log_sigma)
    sigma = jnp.exp(log_sigma) * unit
    lost, known, more = _without_own(lower, half, by_structure, factor, rows, error, held.own)
    epistemic = (known + lost) * sigma**2 + variance * held.spare * unit**2
    return LeftOut(error * sigma, (error + more) * sigma, epistemic, unit, held.kind)


@eqx.filter_jit
def exact_left_out(
    log_levels: dict[str, Float[AnyArray, ""]],
    covariance: Float[AnyArray, "data data"],
    sigma: Float[AnyArray, " data"],
    kind: Int[AnyArray, " data"],
    targets: Float[AnyArray, " data"],
    places: Int[AnyArray, "structures rows"],
    names: tuple[str, ...],
) -> LeftOut:
    """Predict structures by an exact model; `places` lists each one's observations, padded with the number of data."""
    variance = jnp.exp(log_levels["variance"])
    full_sigma = jnp.exp(log_factor(log_levels, kind, names)) * sigma
    lower = jnp.linalg.cholesky(variance * covariance + jnp.diag(full_sigma**2))
    inverse = jax.scipy.linalg.cho_solve((lower, True), jnp.eye(len(sigma), dtype=covariance.dtype))
    solved = jnp.append(inverse @ targets, 0.0)
    padded = jnp.pad(inverse, (0, 1))
    used = places < len(sigma)
    blocks = padded[places[:, :, None], places[:, None, :]]
    blocks = jnp.where(used[:, :, None] & used[:, None, :], blocks, jnp.eye(places.shape[1]))
    error, spread = _solve(blocks, solved[places] * used)
    kinds = jnp.where(used, jnp.append(kind, PADDING)[places], PADDING)
    epistemic = spread - jnp.append(full_sigma, 1.0)[places] ** 2
    return LeftOut(error, error, epistemic, jnp.append(sigma, 1.0)[places], kinds)


def accuracy(left_out: LeftOut, kinds: int) -> Float[Array, ""]:
    """Minus the logarithms of the mean absolute errors of the kinds of labels, weighted; errors in their units.

    The absolute error lets a few bad labels be; the logarithm compares energies with forces without a unit.
    """
    total = jnp.zeros(())
    for k in range(kinds):
        own = left_out.kind == k
        count = jnp.sum(own)
        # Smooth at zero, where an error is exact by symmetry.
        size = jnp.sqrt((left_out.error / left_out.unit) ** 2 + 1e-24)
        mean = jnp.sum(jnp.where(own, size, 0.0)) / jnp.maximum(count, 1)
        total = total - jnp.where(count > 0, WEIGHTS[k] * jnp.log(jnp.maximum(mean, 1e-30)), 0.0)
    return total


def error_fall(new: LeftOut, old: LeftOut, kinds: int) -> float:
    """By what share the errors of `new` are smaller than those of `old`, as a logarithm.

    In the units of the old ones, which another noise or kernel does not scale.
    """
    return float(accuracy(replace(new, unit=old.unit), kinds) - accuracy(old, kinds)) / sum(WEIGHTS)


def error_fall_spread(new: LeftOut, old: LeftOut, kinds: int) -> float:
    """Standard error of `error_fall` over the structures, by the jackknife: large where one of them makes the fall.

    Source: Efron & Stein, Ann. Statist. 9, 586 (1981), eq. 1.4.
    """
    count = len(new.kind)
    if count < 2:
        return np.inf

    def without(left: LeftOut, place: int) -> LeftOut:
        return LeftOut(*(np.delete(np.asarray(x), place, axis=0) for x in jax.tree.leaves(left)))

    falls = np.array([error_fall(without(new, i), without(old, i), kinds) for i in range(count)])
    return float(np.sqrt((count - 1) * np.mean((falls - falls.mean()) ** 2)))


def calibrate(left_out: LeftOut) -> tuple[dict[int, float], dict[int, float]]:
    """Scale of the epistemic standard deviation, and noise level, of each kind, of the highest predictive density.

    The rows of one structure go together: each kind counts as if a structure's n rows of it were √n independent ones.
    Scales of all kinds are near that of the first in `ORDER`, unless structures say otherwise.  Kinds without labels
    have neither.
    """
    kind, unit = np.asarray(left_out.kind), np.asarray(left_out.unit)
    error, epistemic = np.asarray(left_out.error), np.maximum(np.asarray(left_out.epistemic), 0.0)
    scales, levels, middle, prior = {}, {}, 1.0, 1.0
    for k in ORDER:
        own = kind == k
        if not np.any(own):
            continue
        # Nothing is learned from what symmetry makes certain.
        own &= (epistemic > 0) | (error != 0)
        structures = np.sum(np.any(own, axis=1))
        weight = float(np.sqrt(np.sum(own) * structures) / max(np.sum(own), 1))
        typical = float(np.sqrt(np.mean((error[own] / unit[own]) ** 2))) if own.any() else 1.0
        typical = max(typical, 1e-12)
        # As variances beside each other: of the spread, and of the noise in units of what is typical.
        parts = np.stack([epistemic[own], (typical * unit[own]) ** 2])
        bounds = [SCALES, (LEAST_NOISE, 3.0)]
        found = _densest(error[own] ** 2, parts, weight, (middle, 0.5), (prior, np.inf), bounds)
        scales[k], levels[k] = float(found[0]), float(found[1] * typical)
        if len(scales) == 1:
            middle, prior = scales[k], APART
    return scales, levels


def _densest(
    squares: Float[np.ndarray, " labels"],
    parts: Float[np.ndarray, "two labels"],
    weight: float,
    start: tuple[float, float],
    priors: tuple[float, float],
    bounds: list[tuple[float, float]],
) -> Float[np.ndarray, " two"]:
    """The factors of the parts of σ, by whose sum of squares normal errors, of these squares, are most probable.

    The priors, on the factors' logarithms, are around `start`.
    """
    origin, strength = np.log(start), 1.0 / np.array(priors)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        """Minus the log density and priors, and the slope, at logarithms of the factors."""
        own = np.exp(2.0 * x)[:, None] * parts
        variance = np.sum(own, axis=0)
        away = strength * (x - origin)
        value = 0.5 * weight * np.sum(np.log(variance) + squares / variance) + 0.5 * np.sum(away**2)
        slope = weight * own @ (1.0 / variance - squares / variance**2)
        return float(value), slope + strength * away

    # A function of two numbers with its slope; compiled for each set of structures it would take longer.
    found = scipy.optimize.minimize(
        loss, origin, jac=True, method="L-BFGS-B", bounds=np.log(np.array(bounds)), options={"ftol": 1e-12}
    )
    return np.exp(found.x)


def predicted_variance(
    left_out: LeftOut, scales: Mapping[int, float], levels: Mapping[int, float]
) -> Float[np.ndarray, "structures rows"]:
    """Variance of each label about its prediction: the epistemic one, scaled, and the noise of its kind."""
    kind, unit = np.asarray(left_out.kind), np.asarray(left_out.unit)
    epistemic, total = np.maximum(np.asarray(left_out.epistemic), 0.0), np.zeros(kind.shape)
    for k, level in levels.items():
        total = np.where(kind == k, scales[k] ** 2 * epistemic + (level * unit) ** 2, total)
    return total


def misfits(
    left_out: LeftOut, scales: Mapping[int, float], levels: Mapping[int, float]
) -> Float[np.ndarray, " structures"]:
    """How many σ each structure's labels are from what the others predict: root mean square of its worst kind."""
    kind, variance = np.asarray(left_out.kind), predicted_variance(left_out, scales, levels)
    largest = np.zeros(len(kind))
    for k in levels:
        own = kind == k
        square = np.where(own, np.asarray(left_out.error) ** 2 / np.where(own, variance, 1.0), 0.0)
        largest = np.maximum(largest, np.sum(square, axis=1) / np.maximum(np.sum(own, axis=1), 1))
    return np.sqrt(largest)


def _without_own(
    lower: Float[Array, "rank rank"],
    half: Float[Array, " rank"],
    reached: Float[Array, "structures rank rows"],
    factor: Float[Array, "structures rows rows"],
    rows: Float[Array, "structures rows rank"],
    error: Float[Array, "structures rows"],
    own: Float[AnyArray, "structures own rank"],
) -> tuple[Float[Array, "structures rows"], Float[Array, "structures rows"], Float[Array, "structures rows"]]:
    """Variances of each row, in units of its noise, of structures left out together with their own directions.

    First the prior one along these, then the posterior one along the others.  With all weights' covariance
    A = (1 + Ψ₋ₛᵀΨ₋ₛ)⁻¹ that of the others, these being zero, is A less what it has in common with them; their mean
    is moved likewise, and the last that is returned is by how much errors are larger for it.
    """

    def without(of: Array) -> Array:
        """What leaving the structure's labels out adds to the covariances of `of`, as a factor."""
        return jax.scipy.linalg.solve_triangular(factor, jnp.einsum("sfa,sfb->sab", reached, of), lower=True)

    if not own.shape[1]:
        none = jnp.zeros(rows.shape[:2])
        return none, jnp.sum(reached**2, axis=1) + jnp.sum(without(reached) ** 2, axis=1), none
    along = jnp.einsum("saf,sqf->saq", rows, own)
    turned = jax.scipy.linalg.solve_triangular(lower, own.reshape(-1, own.shape[2]).T, lower=True)
    turned = jnp.moveaxis(turned.reshape(-1, *own.shape[:2]), 0, 1)
    others = reached - jnp.einsum("sfq,saq->sfa", turned, along)
    seen_others, seen_own = without(others), without(turned)
    known = jnp.sum(others**2, axis=1) + jnp.sum(seen_others**2, axis=1)
    within = jnp.einsum("sfq,sfp->sqp", turned, turned) + jnp.einsum("saq,sap->sqp", seen_own, seen_own)
    padding = jnp.sum(own**2, axis=2) == 0.0
    within = within + padding[:, :, None] * jnp.eye(own.shape[1], dtype=rows.dtype)
    common = jnp.einsum("sfq,sfa->sqa", turned, others) + jnp.einsum("sbq,sba->sqa", seen_own, seen_others)
    root = jnp.linalg.cholesky(within)
    shared = jax.scipy.linalg.solve_triangular(root, common, lower=True)
    # The mean of the own weights, and what is left of it where the others know.
    mean = jnp.einsum("sfq,sf->sq", turned, half - jnp.einsum("sfa,sa->sf", reached, error))
    told = jax.scipy.linalg.solve_triangular(root, mean[:, :, None], lower=True)[:, :, 0]
    more = jnp.einsum("saq,sq->sa", along, mean) + jnp.einsum("sqa,sq->sa", shared, told)
    return jnp.sum(along**2, axis=2), known - jnp.sum(shared**2, axis=1), more


def _solve(blocks: Array, right: Array) -> tuple[Array, Array]:
    """B⁻¹ r and the diagonal of B⁻¹ for each block; where the one is not used, the compiler leaves it out."""
    lower = jnp.linalg.cholesky(blocks)
    solved = jax.scipy.linalg.cho_solve((lower, True), right[:, :, None])[:, :, 0]
    identity = jnp.broadcast_to(jnp.eye(blocks.shape[-1], dtype=blocks.dtype), blocks.shape)
    half = jax.scipy.linalg.solve_triangular(lower, identity, lower=True)
    return solved, jnp.sum(half**2, axis=-2)
