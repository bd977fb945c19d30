"""On vectors that span all functions of a polynomial kernel the sparse posterior is the exact one."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.potential.budget import estimate
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.span import span, span_size
from tests.potential.conftest import MIXED, mixed_soap, settings, soap
from tests.systems import projected, small_soap

ONE, TWO = gp.DotPower(1), gp.DotPower(2)
PAIR = (14, 32)
SIMILAR = jnp.array([[1.0, 0.6], [0.6, 1.0]])
SPAN = ("model.method=sparse", "model.selection=span")


def energy_kernel(*kernels, species=PAIR, kept=7, similarity=None):
    """Terms on random projections, the second on the fewer components."""
    terms = [
        gp.Term(projected(small_soap(species, l_max=2 + i), kept - i), k) for i, k in enumerate(kernels)
    ]
    return gp.EnergyKernel(tuple(terms), similarity)


@pytest.mark.parametrize(("power", "size", "condition"), [(ONE, 40, 1.0), (TWO, 820, 158.0), (ONE + TWO, 860, 1e4)])
def test_as_many_vectors_as_there_are_functions_and_well_conditioned(power, size, condition):
    kernel = gp.EnergyKernel((gp.Term(projected(small_soap((14,), n_max=5), 40), power),))
    made = span(kernel)
    assert len(made) == span_size(kernel) == size
    assert span_size(kernel, 3) == {40: 3, 820: 6, 860: 9}[size]
    values = np.linalg.eigvalsh(np.asarray(kernel.gram(made.features, made.features, made.species, made.species)))
    assert values[-1] / values[0] < condition * (1 + 1e-9)


@pytest.mark.parametrize("similarity", [None, SIMILAR], ids=["alike", "coupled"])
@pytest.mark.parametrize("kernels", [(ONE,), (0.3 * TWO,), (0.5 * ONE + 2.0 * TWO, TWO)], ids=["1", "2", "terms"])
def test_nothing_of_a_prior_variance_is_left(kernels, similarity):
    """Also of a species whose projection keeps fewer components than another's."""
    kernel = energy_kernel(*kernels, similarity=similarity)
    soap_ = kernel.terms[0].descriptor
    fewer = soap_.projection.at[1, :, 5:].set(0.0)
    first = gp.Term(projected_as(soap_, fewer), kernel.terms[0].kernel)
    kernel = gp.EnergyKernel((first, *kernel.terms[1:]), similarity)
    made = span(kernel)
    rng = np.random.default_rng(0)
    species = jnp.asarray([0, 1, 1, 0])
    here = []
    for term in kernel.terms:
        whole = rng.normal(size=(term.descriptor.n_spectrum, 4))
        here.append(term.descriptor.project(jnp.asarray(whole / np.linalg.norm(whole, axis=0)), species))
    prior = np.asarray(kernel.gram(tuple(here), tuple(here), species, species))
    cross = np.asarray(kernel.gram(tuple(here), made.features, species, made.species))
    gram = np.asarray(kernel.gram(made.features, made.features, made.species, made.species))
    np.testing.assert_allclose(cross @ np.linalg.solve(gram, cross.T), prior, atol=1e-12)
    without = np.arange(len(made)) != 2
    left = cross[:, without] @ np.linalg.solve(gram[np.ix_(without, without)], cross[:, without].T)
    assert abs(left - prior).max() > 1e-6


def projected_as(like, projection):
    """The descriptor with another projection."""
    same = {"cutoff": float(like.cutoff), "n_max": like.n_max, "l_max": like.l_max}
    return small_soap(like.species, **same, projection=projection)


@pytest.fixture(scope="module")
def spanned(mixed_frames):
    """What `mixed_exact` is by Cholesky, on inducing vectors."""
    return gp.fit(mixed_frames[:12], mixed_soap(), MIXED, settings=settings(*SPAN, "model.features=all"))


def test_means_and_covariances_are_those_of_the_exact_posterior(mixed_exact, spanned, mixed_frames):
    s = mixed_frames[12].structure
    assert spanned.record["n_inducing"] == 2 * (20 + 20 * 21 // 2)
    a, b = mixed_exact.joint(s), spanned.joint(s)
    np.testing.assert_allclose(b.mean, a.mean, atol=1e-8)
    np.testing.assert_allclose(b.covariance, a.covariance, atol=1e-8)
    p, q = (potential.predict(s, uncertainty=True, covariance=True) for potential in (mixed_exact, spanned))
    names = ("energy", "energies", "forces", "stress")
    # Calibrated from structures left out, in two closed forms: that of the exact posterior and of the sparse one.
    for name in (*names, *(f"{n}_epistemic_std" for n in names), "energy_uncertainty", "forces_uncertainty"):
        np.testing.assert_allclose(getattr(q, name), getattr(p, name), rtol=1e-6, atol=1e-8, err_msg=name)
    np.testing.assert_allclose(q.forces_covariance, p.forces_covariance, atol=1e-8)
    np.testing.assert_allclose(spanned.log_marginal_likelihood, mixed_exact.log_marginal_likelihood, rtol=1e-8)


def test_draws_have_all_of_the_posterior(spanned, mixed_frames):
    """Their covariance is the posterior's far from all data, too: nothing of the prior stays at its mean."""
    s = mixed_frames[12].structure
    far = gp.Structure(1.6 * s.positions, s.numbers)
    cross = spanned.model.cross(spanned.kernel, spanned.neighbours().batch(far)).energy
    drawn = np.linalg.norm(np.asarray(cross) @ np.asarray(spanned.model.posterior.factor))
    assert drawn == pytest.approx(spanned.predict(far, uncertainty=True).energy_epistemic_std, rel=1e-8)


def test_settings_alone_choose_it_and_repeat_it(frames, tmp_path):
    shape = ["descriptor.n_max=3", "descriptor.l_max=2", "descriptor.cutoff=3.5", "kernel.zeta=2"]
    one = gp.fit(frames, settings=gp.load_settings(None, ["model.selection=span", *shape]))
    chosen = {c["key"]: c for c in one.record["choices"]}
    assert chosen["model.method"]["value"] == "sparse"
    assert chosen["model.n_inducing"]["value"] == 18 * 19 // 2
    assert "exact" in chosen["model.n_inducing"]["reason"]
    assert chosen["model.refine"]["value"] is False
    two = gp.fit(frames, settings=Settings.model_validate(one.record["settings"]))
    one.save(tmp_path / "model.safetensors")
    stored = gp.Potential.load(tmp_path / "model.safetensors")
    first = one.predict(frames[0], uncertainty=True)
    for other in (two, stored):
        p = other.predict(frames[0], uncertainty=True)
        for name in ("energy", "forces", "stress", "energy_std", "forces_std", "stress_std"):
            np.testing.assert_array_equal(getattr(p, name), getattr(first, name))


def test_other_kernels_are_refused_before_any_work(frames):
    for given in ((soap(), gp.DotPower(4)), (gp.Term(soap(), gp.Matern52(1.0)),), ()):
        with pytest.raises(gp.InputError, match="kernel.zeta=2"):
            gp.fit(frames, *given, settings=gp.load_settings(None, list(SPAN)))


def test_what_exceeds_the_budget_is_refused_and_what_would_fit_is_named(frames):
    large = soap(n_max=6, l_max=4)  # 105 components, 5565 functions
    few = [*SPAN, "model.memory=0.412"]
    with pytest.raises(gp.InputError, match=r"5565 inducing vectors.*set model.features=\d+") as refused:
        gp.fit(frames, large, TWO, settings=settings(*few, "model.features=all"))
    fits = int(re.search(r"features=(\d+)", str(refused.value))[1])
    assert fits == 9  # 0.4 GB are counted for what is always there
    with pytest.raises(gp.InputError, match="another selection"):
        gp.fit(frames, large, TWO, settings=settings(*SPAN, "model.memory=0.0001"))
    with pytest.raises(gp.InputError, match=r"takes 171 inducing vectors.*leave model.n_inducing out"):
        gp.fit(frames, soap(), TWO, settings=settings(*SPAN, "model.n_inducing=100", "model.features=all"))
    shape = ["descriptor.n_max=6", "descriptor.l_max=4", "descriptor.cutoff=3.5", "kernel.zeta=2"]
    planned = estimate(frames, gp.load_settings(None, [*few, *shape]))
    assert planned.n_inducing == 45
    # Left open, it is as many components as the budget allows.
    potential = gp.fit(frames, large, TWO, settings=settings(*few))
    chosen = {c["key"]: c["value"] for c in potential.record["choices"]}
    assert chosen["model.features"] == chosen["model.most_features"] == 9
