"""Predictions of structures left out equal those of models that never saw them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpjaxpot.gp.left_out import (
    PADDING,
    WEIGHTS,
    Held,
    LeftOut,
    accuracy,
    calibrate,
    error_fall,
    error_fall_spread,
    exact_left_out,
    misfits,
    own_directions,
    predicted_variance,
    sparse_left_out,
)
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
    """Error and epistemic variance of each label, from posteriors that never saw its structure."""
    edges, noise = np.cumsum([0, *SIZES]), sigma(data) ** 2
    error, epistemic = np.zeros(len(noise)), np.zeros(len(noise))
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        out = np.arange(a, b)
        rest = np.setdiff1d(np.arange(len(noise)), out)
        solve = np.linalg.solve(covariance[np.ix_(rest, rest)] + np.diag(noise[rest]), covariance[rest][:, out])
        error[out] = data["y"][out] - solve.T @ data["y"][rest]
        epistemic[out] = np.diag(covariance[np.ix_(out, out)] - covariance[np.ix_(out, rest)] @ solve)
    return error, epistemic


def flat(padded_values, kind):
    return np.asarray(padded_values)[np.asarray(kind) != PADDING]


def exact(log_levels, data):
    """The exact posterior's predictions of structures left out."""
    places = padded(np.arange(sum(SIZES)), sum(SIZES))
    return exact_left_out(
        log_levels, jnp.asarray(data["k"]), jnp.asarray(data["factor"]), jnp.asarray(data["kind"]),
        jnp.asarray(data["y"]), jnp.asarray(places), NAMES,
    )  # fmt: skip


def test_exact_equals_refitting(data):
    found = exact(LOG, data)
    error, epistemic = by_refitting(data, LEVELS["variance"] * data["k"])
    np.testing.assert_allclose(flat(found.error, found.kind), error, atol=1e-10)
    np.testing.assert_allclose(flat(found.epistemic, found.kind), epistemic, atol=1e-10)
    np.testing.assert_allclose(flat(found.unit, found.kind), data["factor"])


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
        jnp.zeros((len(SIZES), 0, white.shape[1])),
    )  # fmt: skip
    return parts, held


def test_sparse_equals_refitting(data):
    """The error as by the model of the features; the variance with what they leave out of the prior."""
    parts, held = sparse_arguments(data)
    found = sparse_left_out(LOG, parts, held, NAMES)
    known = data["k_fu"] @ whiten(data["k_uu"])
    within = LEVELS["variance"] * known @ known.T
    error, epistemic = by_refitting(data, within)
    left = LEVELS["variance"] * np.diag(data["k"]) - np.diag(within)
    np.testing.assert_allclose(flat(found.error, found.kind), error, atol=1e-10)
    np.testing.assert_allclose(flat(found.epistemic, found.kind), epistemic + left, atol=1e-10)


OWN = ([0, 3], [], [5])


def test_a_new_structure_has_no_inducing_points_of_its_own(data):
    """Spreads and errors are those of models that saw neither the structure nor the inducing points that are of it."""
    parts, held = sparse_arguments(data)
    whitening = whiten(data["k_uu"])
    own = np.zeros((len(SIZES), 2, whitening.shape[1]))
    directions = own_directions(whitening, [np.array(places, int) for places in OWN])
    for padded_own, found in zip(own, directions, strict=True):
        padded_own[: len(found)] = found
    plain = sparse_left_out(LOG, parts, held, NAMES)
    found = sparse_left_out(LOG, parts, eqx.tree_at(lambda h: h.own, held, jnp.asarray(own)), NAMES)
    np.testing.assert_allclose(found.error, plain.error, atol=1e-12)
    edges = np.cumsum([0, *SIZES])
    for s, places in enumerate(OWN):
        here = slice(edges[s], edges[s + 1])
        others = np.setdiff1d(np.arange(6), places)
        known = data["k_fu"][:, others] @ whiten(data["k_uu"][np.ix_(others, others)])
        within = LEVELS["variance"] * known @ known.T
        error, epistemic = by_refitting(data, within)
        expected = epistemic + LEVELS["variance"] * np.diag(data["k"]) - np.diag(within)
        np.testing.assert_allclose(np.asarray(found.epistemic)[s, : SIZES[s]], expected[here], atol=1e-9)
        np.testing.assert_allclose(np.asarray(found.new_error)[s, : SIZES[s]], error[here], atol=1e-9)
        for name in ("epistemic", "new_error"):
            changed = np.abs(np.asarray(getattr(found, name) - getattr(plain, name))[s, : SIZES[s]])
            assert bool(places) == bool(np.any(changed > 1e-3))
    np.testing.assert_array_equal(found.as_new.error, found.new_error)
    np.testing.assert_allclose(plain.new_error, plain.error, atol=1e-12)


def test_accuracy_is_the_logarithm_of_the_errors(data):
    parts, held = sparse_arguments(data)
    found = sparse_left_out(LOG, parts, held, NAMES)
    known = data["k_fu"] @ whiten(data["k_uu"])
    error, _ = by_refitting(data, LEVELS["variance"] * known @ known.T)
    size = np.abs(error / data["factor"])
    expected = sum(-w * np.log(np.mean(size[data["kind"] == k])) for k, w in enumerate(WEIGHTS[:2]))
    assert float(accuracy(found, 2)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("posterior", ["sparse", "exact"])
def test_gradient_equals_finite_differences(data, posterior):
    parts, held = sparse_arguments(data)

    def score(x):
        return accuracy(exact(x, data) if posterior == "exact" else sparse_left_out(x, parts, held, NAMES), 2)

    gradient = jax.grad(score)(LOG)
    h = 1e-5
    for name, slope in gradient.items():
        ahead, behind = (score(LOG | {name: LOG[name] + s * h}) for s in (1, -1))
        assert float(slope) == pytest.approx(float(ahead - behind) / (2 * h), rel=1e-6, abs=1e-8)


def test_calibration_finds_the_noise_that_made_the_errors():
    """Errors of variance (s² epistemic + a²): scales and levels come back, within the scatter of 6000 labels."""
    rng = np.random.default_rng(1)
    shape = (300, 20)
    kind = np.broadcast_to(np.where(np.arange(20) == 0, 0, 1), shape)
    epistemic = rng.uniform(0.1, 2.0, shape) ** 2 * np.where(kind == 0, 0.04, 1.0)
    unit = np.where(kind == 0, 3.0, 1.0)
    level = np.where(kind == 0, 0.1, 0.7)
    true = np.where(kind == 0, 0.6, 1.5)
    error = rng.normal(size=shape) * np.sqrt(true**2 * epistemic + (level * unit) ** 2)
    made = LeftOut(*(jnp.asarray(a) for a in (error, error, epistemic, unit, kind)))
    scales, levels = calibrate(made)
    assert list(scales) == [1, 0]
    assert scales[1] == pytest.approx(1.5, rel=0.1)
    assert levels[0] == pytest.approx(0.1, rel=0.2)
    assert levels[1] == pytest.approx(0.7, rel=0.1)
    assert set(levels) == {0, 1}
    variance = predicted_variance(made, scales, levels)
    scale = np.where(kind == 0, scales[0], scales[1])
    np.testing.assert_allclose(
        variance, scale**2 * epistemic + np.where(kind == 0, levels[0] * 3.0, levels[1]) ** 2, rtol=1e-12
    )
    for k in (0, 1):
        assert np.mean((error**2 / variance)[kind == k]) == pytest.approx(1.0, abs=0.15)


def test_misfits_are_in_sigma():
    kind = np.array([[0, 1, 1], [0, 1, PADDING]])
    error = np.array([[0.3, 1.0, -1.0], [0.1, 6.0, 0.0]])
    epistemic, unit = np.array([[0.0, 0.16, 0.16], [0.0, 0.16, 0.0]]), np.array([[3.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    made = LeftOut(*(jnp.asarray(a) for a in (error, error, epistemic, unit, kind)))
    # Energies: 0.3/(0.1·3) and 0.1/0.1; forces: variance (2·0.4)² + 0.6² = 1.
    np.testing.assert_allclose(misfits(made, {0: 1.0, 1: 2.0}, {0: 0.1, 1: 0.6}), [1.0, 6.0])


def made_of(errors):
    """Structures with so large errors of one kind."""
    errors = np.abs(np.asarray(errors))[:, None]
    return LeftOut(errors, errors, np.ones_like(errors), np.ones_like(errors), np.ones(errors.shape, int))


def test_a_fall_of_errors_has_the_standard_error_of_the_delta_method():
    generator = np.random.default_rng(0)
    old, new = np.abs(generator.normal(size=(2, 2000)))
    new *= 0.9
    kinds, weight = 2, 1.0 / 2.5
    fall = error_fall(made_of(new), made_of(old), kinds)
    assert fall == pytest.approx(weight * np.log(old.mean() / new.mean()), rel=1e-9)
    # Of the logarithm of a ratio of two independent means.
    expected = weight * np.sqrt(sum(np.var(x) / len(x) / np.mean(x) ** 2 for x in (old, new)))
    assert error_fall_spread(made_of(new), made_of(old), kinds) == pytest.approx(expected, rel=0.05)


def test_a_fall_that_one_structure_makes_is_not_sure():
    old, new = np.ones(12), np.full(12, 1.02)
    old[3], new[3] = 10.0, 2.0
    fall = error_fall(made_of(new), made_of(old), 2)
    assert fall > 0.1
    assert error_fall_spread(made_of(new), made_of(old), 2) > fall / 2
    assert error_fall_spread(made_of(0.8 * old), made_of(old), 2) < 1e-9
    assert error_fall_spread(made_of(new[:1]), made_of(old[:1]), 2) == np.inf
