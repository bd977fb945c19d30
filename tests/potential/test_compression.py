"""Projected vectors say nearly the same: of all environments, of rare ones, and of how they move."""

import jax.numpy as jnp
import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.potential import compression
from gpjaxpot.potential.compression import WORST, compress
from gpjaxpot.potential.settings import TOLERANCE
from gpjaxpot.structures.batch import neighbourhood
from tests.potential.conftest import labelled, settings
from tests.systems import features

SOAP = {"cutoff": 3.5, "n_max": 5, "l_max": 4, "sigma": 0.5}
WHOLE = 5 * 6 // 2 * 5


@pytest.fixture(scope="module", autouse=True)
def short_vectors():
    """Vectors of these tests are shorter than is worth while."""
    patch = pytest.MonkeyPatch()
    patch.setattr(compression, "SHORT", 10)
    patch.setattr(compression, "LEAST_SPARED", 0.05)
    yield
    patch.undo()


def kernel(species=(14,), **more):
    return gp.EnergyKernel((gp.Term(gp.SOAP(**SOAP, **more, species=species), gp.DotPower(4)),))


def compressed(frames, species=(14,), wanted=None, most=None):
    whole = kernel(species)
    found = [neighbourhood(f.structure, species, whole.reach) for f in frames]
    return compress(whole, found, wanted, 0, lambda *a: None, most)


def dropped(made, structure):
    """Length that each environment's vector loses."""
    own, whole = features(made.kernel.terms[0].descriptor, structure), features(kernel().terms[0].descriptor, structure)
    return np.sqrt(np.maximum(1.0 - np.sum(own**2, axis=1), 0.0)), whole


def test_few_components_say_nearly_the_same():
    frames = labelled(20)
    made = compressed(frames)
    assert 5 < made.kept < 0.9 * WHOLE
    directions = np.asarray(made.kernel.terms[0].descriptor.projection)[0]
    np.testing.assert_allclose(directions.T @ directions, np.eye(made.kept), atol=1e-12)
    assert made.dropped <= TOLERANCE
    assert made.worst <= 1.1 * WORST * TOLERANCE
    for frame in labelled(3, seed=9):
        left, whole = dropped(made, frame.structure)
        assert left.max() < 20 * TOLERANCE  # they were not looked at
        own = features(made.kernel.terms[0].descriptor, frame.structure)
        np.testing.assert_allclose((own @ own.T) ** 4, (whole @ whole.T) ** 4, atol=1e-4)


def test_a_tolerance_that_is_asked_for_bounds_what_is_left_out():
    frames, kept = labelled(20), []
    for tolerance in (1e-2, 1e-3, 1e-4):
        chosen = settings("model.method=sparse", "model.n_inducing=12", f"model.feature_tolerance={tolerance}")
        made = gp.fit(frames, kernel(), settings=chosen)
        left = np.concatenate([dropped(made, f.structure)[0] for f in frames])
        assert np.sqrt(np.mean(left**2)) <= 2.0 * tolerance  # a quarter of them was looked at
        kept.append(made.kernel.terms[0].descriptor.n_features)
    assert kept == sorted(set(kept))


def test_a_crystal_at_rest_can_still_move(monkeypatch):
    """Its atoms are alike, their vectors one direction; what neighbours' displacements do is kept beside it."""
    cell = 2.715 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    s = gp.Structure(np.array([[0.0, 0, 0], [1.3575] * 3]), [14, 14], cell, True)
    frames = [gp.Frame(s, gp.Labels(0.0))]
    made = compressed(frames)
    monkeypatch.setattr(compression, "DISPLACEMENT", 1e-6)
    still = compressed(frames)
    assert still.kept == 1 < made.kept
    for seed in range(3):
        shift = np.random.default_rng(seed).normal(scale=0.03, size=s.positions.shape)
        strain = np.eye(3) + np.random.default_rng(seed).normal(scale=0.02, size=(3, 3))
        moved = gp.Structure((s.positions + shift) @ strain, s.numbers, s.cell @ strain, s.pbc)
        left, whole = dropped(made, moved)
        far = np.linalg.norm(whole - features(kernel().terms[0].descriptor, s), axis=1)
        # What is left is of second order in the strain.
        assert np.all(left < 0.3 * far)
        assert np.all(dropped(still, moved)[0] > 0.9 * far)


def test_a_rare_environment_is_not_forgotten():
    common = labelled(40)
    positions = 1.5 * np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1]])
    rare = gp.Frame(gp.Structure(positions, [14] * 5), gp.Labels(0.0))
    made = compressed([*common, rare])
    assert dropped(made, rare.structure)[0].max() <= 1.1 * WORST * TOLERANCE
    assert dropped(compressed(common), rare.structure)[0].max() > 0.1


def test_one_among_many_is_weighed_up():
    """What a mean over all would drop: one vector of 400 has a part of its length in a direction of its own."""
    rng = np.random.default_rng(0)
    vectors = np.zeros((400, 9))
    vectors[:, :3] = np.abs(rng.normal(size=(400, 3)))
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    own = 16.0 * TOLERANCE
    vectors[7] = [np.sqrt(1 - own**2), 0, 0, 0, 0, 0, 0, 0, own]
    moves = np.zeros((400, 1, 9))
    assert compression._enough(np.linalg.eigvalsh(vectors.T @ vectors / 400)[::-1], TOLERANCE) == 3
    values, right = compression._spectrum(vectors, moves, TOLERANCE)
    kept = right[:, : compression._enough(values, TOLERANCE)]
    assert np.sqrt(compression._left_out(kept, vectors, moves)).max() <= WORST * TOLERANCE


def test_species_have_directions_of_their_own():
    frames = labelled(10, species=(14, 32))
    made = compressed(frames, (14, 32))
    first, second = np.asarray(made.kernel.terms[0].descriptor.projection)
    kept = [int(np.sum(np.any(p != 0, axis=0))) for p in (first, second)]
    assert max(kept) == made.kept
    assert not np.allclose(first[:, :5], second[:, :5])


def test_as_many_as_are_wanted():
    made = compressed(labelled(5), wanted=7)
    assert made.kept == 7
    assert made.kernel.terms[0].descriptor.n_features == 7
    assert made.dropped > TOLERANCE


def test_a_bound_holds_for_those_that_would_be_more():
    free = compressed(labelled(20, species=(14, 32)), (14, 32))
    counts = [int(np.sum(np.any(d != 0.0, axis=0))) for d in np.asarray(free.kernel.terms[0].descriptor.projection)]
    bounded = compressed(labelled(20, species=(14, 32)), (14, 32), most=max(counts) - 3)
    kept = [int(np.sum(np.any(d != 0.0, axis=0))) for d in np.asarray(bounded.kernel.terms[0].descriptor.projection)]
    assert kept == [min(c, max(counts) - 3) for c in counts]
    assert bounded.kept == max(counts) - 3


def test_molecules_have_as_many_as_leave_time_for_the_exact_mean(monkeypatch):
    """On a slow machine fewer, which the resolved settings repeat on a fast one."""
    from gpjaxpot.potential import budget, refinement_plan, sparse_cost

    frames = labelled(4, species=(1, 14), periodic=False)
    own = kernel((1, 14))

    def planned(speed, **more):
        monkeypatch.setattr(budget, "_flops_per_second", lambda: speed)
        of = ("model.method=sparse", "model.solver=iterations")
        wanted = gp.load_settings(None, [*of, *(f"model.{k}={v}" for k, v in more.items())])
        return budget.plan(frames, own, wanted.model, 100)

    fast = planned(1e12)
    assert fast.most_features is not None
    assert fast.most_features > own.terms[0].descriptor.n_spectrum
    flops = planned(1.0, refine="true").most_seconds - planned(1.0, refine="false").most_seconds
    speed = 0.6 * flops / ((1.0 - refinement_plan.MOLECULES_SHARE) * 900.0)
    slow = planned(speed)
    assert slow.most_features is not None
    whole = round(sparse_cost.KEPT * own.terms[0].descriptor.n_spectrum)
    assert slow.most_features == pytest.approx(0.6 * whole, abs=1.0)
    assert planned(speed, refine="false").most_features is None
    assert planned(speed, most_features=9).most_features is None


def test_no_projection_where_it_would_be_of_no_use():
    frames = labelled(2)
    found = [neighbourhood(f.structure, (14,), 3.5) for f in frames]
    general = gp.FunctionKernel(lambda p, q: jnp.dot(p, q) ** 2)
    other = gp.EnergyKernel((gp.Term(gp.SOAP(**SOAP, species=(14,)), general),))
    assert compress(other, found, None, 0, lambda *a: None) is None
    again = compressed(frames).kernel
    assert compress(again, found, None, 0, lambda *a: None) is None
