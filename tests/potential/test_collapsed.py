"""The collapsed mean is the sum over environments, in energies, forces and stress, whatever it was made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.potential.centres import Centres, local_energies
from gpjaxpot.potential.collapsed import Collapsed, collapses
from gpjaxpot.potential.predictor import Neighbours, evaluate, single
from tests.potential.conftest import MIXED, mixed_soap, settings, soap

ONE, TWO = gp.DotPower(1), gp.DotPower(2)
SIMILAR = jnp.array([[1.0, 0.4], [0.4, 0.8]])
MANY = 200


def unit_vectors(rng, size, count):
    made = rng.normal(size=(size, count))
    return jnp.asarray(made / np.linalg.norm(made, axis=0))


def system(kernels, similarity, gradients, seed=0):
    """Random environments of two species under each kernel, with coefficients of both signs."""
    rng = np.random.default_rng(seed)
    terms = tuple(gp.Term(soap(species=(8, 14), n_max=2, l_max=i + 1), k) for i, k in enumerate(kernels))
    kernel = gp.EnergyKernel(terms, similarity)
    sizes = [t.descriptor.n_features for t in terms]
    features = tuple(unit_vectors(rng, d, MANY) for d in sizes)
    along = tuple(jnp.asarray(rng.normal(size=(d, MANY))) for d in sizes) if gradients else None
    centres = Centres(features, jnp.asarray(rng.integers(0, 2, MANY)), jnp.asarray(rng.normal(size=MANY)), along)
    here = tuple(unit_vectors(rng, d, 7) for d in sizes)
    return kernel, centres, here, jnp.asarray([0, 1, 1, 0, 0, 1, 0])


@pytest.mark.parametrize("similarity", [None, SIMILAR], ids=["alike", "coupled"])
@pytest.mark.parametrize("gradients", [False, True], ids=["values", "gradients"])
@pytest.mark.parametrize(
    "kernels", [(ONE,), (0.3 * TWO,), (0.5 * ONE + 2.0 * TWO, ONE * ONE), (ONE, TWO)], ids=["1", "2", "1+2", "terms"]
)
def test_energies_and_slopes_are_those_of_the_sum(kernels, gradients, similarity):
    kernel, centres, here, species = system(kernels, similarity, gradients)
    assert collapses(kernel, centres)
    made = Collapsed.make(kernel, centres)
    energies, slopes = made.energies_and_slopes(kernel, here, species)
    plain = local_energies(kernel, centres, here, species)
    np.testing.assert_allclose(energies, plain, atol=1e-12 * MANY)
    expected = jax.grad(lambda f: jnp.sum(local_energies(kernel, centres, f, species)))(here)
    for a, b in zip(slopes, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12 * MANY)


def test_it_is_taken_only_where_it_is_right_and_cheaper():
    kernel, centres, _, _ = system((TWO,), None, False)
    assert collapses(kernel, centres)
    few = Centres(tuple(f[:, :30] for f in centres.features), centres.species[:30], centres.values[:30])
    assert not collapses(kernel, few)  # two matrices of 20 × 20 and 30 environments
    assert collapses(system((ONE,), None, False)[0], few)
    for other in (gp.DotPower(4), TWO + gp.Matern52(0.5), TWO * ONE):
        kernel, centres, _, _ = system((other,), None, False)
        assert not collapses(kernel, centres)
        with pytest.raises(ValueError, match="degree 1 or 2"):
            Collapsed.make(kernel, centres)


@pytest.mark.parametrize("method", ["exact", "sparse", "refined"])
def test_predictions_are_those_of_the_plain_path(method, mixed_exact, mixed_frames):
    """48 environments of two species beside 2 × 20 components: all three models collapse."""
    given = {
        "sparse": ("model.method=sparse", "model.n_inducing=48", "model.selection=farthest"),
        "refined": ("model.method=sparse", "model.n_inducing=8", "model.refine=true"),
    }
    potential = mixed_exact
    if method in given:
        potential = gp.fit(mixed_frames[:12], mixed_soap(), MIXED, settings=settings(*given[method]))
        assert (potential.model.refined is not None) == (method == "refined")
    assert isinstance(potential.mean, Collapsed)
    assert "polynomial of 20 components" in potential.summary()["evaluated_as"]
    batch = Neighbours(potential.kernel).batch(mixed_frames[12].structure)
    plain = evaluate(potential.kernel, potential.centres, batch)
    made = evaluate(potential.kernel, potential.mean, batch)
    # Relative to the sum's largest terms: large weights cancel in both, in another order.
    size = float(abs(np.asarray(potential.centres.values)).max())
    for name in ("energies", "forces", "virial"):
        scale = max(size, float(abs(getattr(plain, name)).max()))
        np.testing.assert_allclose(getattr(made, name), getattr(plain, name), atol=1e-10 * scale, err_msg=name)
    in_single = evaluate(*single((potential.kernel, potential.mean, batch)))
    assert in_single.energies.dtype == in_single.forces.dtype == jnp.float32
    # The coefficients are as large as energies are, not as weights are.
    for name in ("energies", "forces"):
        np.testing.assert_allclose(getattr(in_single, name), getattr(made, name), atol=2e-5, err_msg=name)


def test_a_sample_and_a_loaded_model_are_collapsed_anew(sparse, frames, tmp_path):
    drawn = sparse.sample(jax.random.key(0))
    assert drawn.predict(frames[7]).energy != sparse.predict(frames[7]).energy
    drawn.save(tmp_path / "drawn.safetensors")
    again = gp.Potential.load(tmp_path / "drawn.safetensors")
    assert again.predict(frames[7]).energy == drawn.predict(frames[7]).energy
    assert again.summary() == drawn.summary()
