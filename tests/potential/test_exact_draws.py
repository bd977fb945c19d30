"""Evidence and draws of a refined mean's posterior, which is never made, against those of one that is."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.kernels import EnergyKernel, Term
from gpjaxpot.potential import refinement
from gpjaxpot.potential.centres import local_energies
from gpjaxpot.potential.prior_draw import drawable, prior_draw
from tests.potential.conftest import settings, soap

DRAWS = 48
# A variance other than one, which draws of the prior and what the data leave must both have.
VARIANCE = "kernel.variance=0.3"
BY_ITERATIONS = ("model.refine=true", "model.solver=iterations")
WANTED = (VARIANCE, "model.method=sparse", "model.n_inducing=6", *BY_ITERATIONS, "model.evidence=true")


@pytest.fixture(scope="module")
def refined(frames):
    """Six inducing environments of 24, at given levels: those of the exact potential."""
    patch = pytest.MonkeyPatch()
    patch.setattr(refinement, "FINE", 1e-4)
    yield gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings(*WANTED, f"model.draws={DRAWS}"))
    patch.undo()


@pytest.fixture(scope="module")
def exact(frames):
    """Exact potential at the same levels."""
    return gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings(VARIANCE, "model.method=exact"))


def observed(potential, frames):
    """Energies, forces and stresses, one after the other."""
    found = [potential.predict(f) for f in frames]
    return np.concatenate([np.concatenate([[p.energy], p.forces.ravel(), p.stress]) for p in found])


def test_evidence_is_that_of_the_exact_posterior(refined, exact):
    record = refined.summary()
    error = record["log_marginal_likelihood_standard_error"]
    assert refined.log_marginal_likelihood == record["log_marginal_likelihood"]
    assert abs(refined.log_marginal_likelihood - exact.log_marginal_likelihood) < 4 * error
    of_sparse = float(refined.model.posterior.log_marginal_likelihood)
    assert abs(exact.log_marginal_likelihood - of_sparse) > 20 * error  # which is another one
    assert error < 0.02 * abs(exact.log_marginal_likelihood)
    assert "log_marginal_likelihood_standard_error" not in exact.summary()
    chosen = {c["key"]: c for c in record["choices"]}["model.evidence"]
    assert "10 probes" in chosen["reason"]


def test_draws_have_mean_and_covariance_of_the_exact_posterior(refined, exact, frames):
    some = [frames[0], frames[7]]  # trained on, and not
    drawn = np.stack([observed(d, some) for d in refined.draws])
    assert len(drawn) == DRAWS
    joint = exact.joint([f.structure for f in some])
    apart = (drawn.mean(0) - observed(refined, some)) / np.sqrt(np.diag(joint.covariance) / DRAWS)
    assert np.abs(apart).max() < 4.5
    assert np.mean(apart**2) == pytest.approx(1.0, abs=0.8)
    # In directions in which it is one each, covariances scatter as those of a unit normal vector.
    values, vectors = np.linalg.eigh(joint.covariance)
    kept = values > 1e-6 * values[-1]
    white = (drawn - drawn.mean(0)) @ (vectors[:, kept] / np.sqrt(values[kept]))
    ratio = np.var(white, axis=0, ddof=1)
    assert np.abs(ratio - 1.0).max() < 4.5 * np.sqrt(2 / DRAWS)
    assert np.mean(ratio) == pytest.approx(1.0, abs=4 * np.sqrt(2 / DRAWS / len(ratio)))
    std = np.std(drawn, axis=0)
    np.testing.assert_allclose(std, np.sqrt(np.diag(joint.covariance)), rtol=4.5 / np.sqrt(2 * DRAWS))


def test_forces_of_a_draw_are_the_derivative_of_its_energy(refined, frames):
    one, s, h = refined.draws[3], frames[7].structure, 1e-4
    forces = one.predict(s).forces
    assert np.abs(forces - refined.predict(s).forces).max() > 1e-3
    for atom, x in ((0, 0), (3, 2)):
        step = np.zeros_like(s.positions)
        step[atom, x] = h
        ahead, behind = (
            one.predict(gp.Structure(s.positions + sign * step, s.numbers, s.cell, s.pbc)).energy for sign in (1, -1)
        )
        assert forces[atom, x] == pytest.approx(-(ahead - behind) / (2 * h), abs=2e-6)


def test_a_model_file_keeps_the_draws_and_each_draw_may_be_kept(refined, frames, tmp_path):
    refined.save(tmp_path / "model.safetensors")
    again = gp.Potential.load(tmp_path / "model.safetensors")
    assert len(again.draws) == DRAWS
    assert again.log_marginal_likelihood == refined.log_marginal_likelihood
    one, same = refined.draws[5], again.draws[5]
    np.testing.assert_array_equal(one.predict(frames[7]).forces, same.predict(frames[7]).forces)
    one.save(tmp_path / "draw.safetensors")
    alone = gp.Potential.load(tmp_path / "draw.safetensors")
    np.testing.assert_array_equal(one.predict(frames[7]).forces, alone.predict(frames[7]).forces)
    assert alone.draws == one.draws == ()


def test_other_models_have_no_draws_and_say_so(exact, sparse, frames):
    assert exact.draws == sparse.draws == ()
    wanted = settings("model.method=exact", "model.evidence=true", "model.draws=4")
    plain = gp.fit(frames[:3], soap(), gp.DotPower(2), settings=wanted)
    chosen = {c["key"]: c for c in plain.record["choices"]}
    assert chosen["model.draws"]["value"] == 0
    assert chosen["model.evidence"]["value"] is False
    assert plain.record["settings"]["model"]["draws"] == 0


def test_draws_of_other_kernels_scatter_no_more_than_the_posterior(frames):
    few, kernel, n = frames[:3], gp.SquaredExponential(1.0), 24
    wanted = settings("model.method=sparse", "model.n_inducing=4", "model.refine=true", f"model.draws={n}")
    made = gp.fit(few, soap(), kernel, settings=wanted)
    assert "as far as" in {c["key"]: c for c in made.record["choices"]}["model.draws"]["reason"]
    exact = gp.fit(few, soap(), kernel, settings=settings("model.method=exact"))
    for frame in (frames[0], frames[7]):
        std = np.std([d.predict(frame).forces for d in made.draws], axis=0)
        most = exact.predict(frame, uncertainty=True).forces_epistemic_std
        assert np.all(std < (1.0 + 4.5 / np.sqrt(2 * n)) * most)
        assert np.mean(std) > 0.1 * np.mean(most)


SIMILAR = jnp.array([[1.0, 0.6], [0.6, 1.0]])
SUM = 0.5 * gp.DotPower(3) + 0.8 * gp.DotPower(2) + 0.3 * gp.DotPower(1)


@pytest.mark.parametrize(
    ("kernels", "similarity"),
    [
        ((2.0 * gp.DotPower(4),), SIMILAR),
        ((SUM,), SIMILAR),
        ((gp.DotPower(2), SUM), None),
        ((gp.DotPower(2),), jnp.ones((2, 2))),
    ],
    ids=["power", "sum", "terms", "same"],
)
def test_draws_of_the_prior_have_the_covariance_of_the_kernel(kernels, similarity):
    small = gp.SOAP(cutoff=3.0, n_max=2, l_max=2, sigma=0.5).with_species((14, 32))
    kernel = EnergyKernel(tuple(Term(small, k) for k in kernels), similarity)
    rng = np.random.default_rng(0)
    # Many pairs of vectors at one cosine, of one species and of two: a draw has a mean product over them.
    half, cosine = 40, 0.8
    points = []
    for _ in kernels:
        p, across = rng.normal(size=(2, small.n_features, 2 * half))
        p /= np.linalg.norm(p, axis=0)
        across -= p * np.sum(p * across, axis=0)
        q = cosine * p + np.sqrt(1 - cosine**2) * across / np.linalg.norm(across, axis=0)
        points.append(jnp.asarray(np.concatenate([p, q], axis=1)))
    one, other = np.zeros(half, int), np.ones(half, int)
    species = jnp.asarray(np.concatenate([one, one, one, other]))
    value = eqx.filter_jit(local_energies)
    products = []
    for _ in range(60):
        f = np.asarray(value(kernel, prior_draw(kernel, rng, directions=24), tuple(points), species))
        p, q = f[: 2 * half], f[2 * half :]
        products.append([np.mean(p * p), np.mean((p * q)[:half]), np.mean((p * q)[half:])])
    at, near = (sum(float(k.profile(jnp.array(t))) for k in kernels) for t in (1.0, cosine))
    between = 0.0 if similarity is None else float(similarity[0, 1])
    error = np.std(products, axis=0, ddof=1) / np.sqrt(len(products))
    assert np.all(np.abs(np.mean(products, axis=0) - [at, near, between * near]) < 4 * error)
    assert np.all(error < 0.12 * at)


def test_other_kernels_have_no_such_draws():
    term = Term(soap().with_species((14,)), gp.SquaredExponential(1.0))
    assert not drawable(EnergyKernel((term,)))
    with pytest.raises(ValueError, match="polynomial"):
        prior_draw(EnergyKernel((term,)), np.random.default_rng(0))
