"""What is kept of a training set is what would be made again, and no more than the memory allows."""

import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.potential import staged_set
from gpjaxpot.potential.staged_set import StagedSet
from gpjaxpot.structures.batch import neighbourhood
from tests.potential.conftest import labelled, settings, soap


@pytest.fixture
def counted(monkeypatch):
    """How often structures were staged."""
    calls = []
    plain = staged_set.stage
    monkeypatch.setattr(staged_set, "stage", lambda *a: calls.append(1) or plain(*a))
    return calls


def training(memory):
    kernel = gp.EnergyKernel((gp.Term(soap(species=(14,)), gp.DotPower(2)),))
    found = [neighbourhood(f.structure, (14,), kernel.reach) for f in labelled(40)]
    return StagedSet(kernel, found, memory)


def test_batches_are_kept_within_the_memory(counted):
    whole = training(0.0)
    assert len(whole) > 2
    one = whole.stage(0, whole.batch(0))
    size = sum(m.nbytes for m in (*one.moves, *one.features))
    counted.clear()
    some = training(1.5 * size)
    for _ in range(2):
        for k in range(len(some)):
            made = some.stage(k, some.batch(k))
            if k == 0:
                np.testing.assert_array_equal(made.moves[0], one.moves[0])
    # The first is kept; for all others there is no room.
    assert len(counted) == 2 * len(some) - 1
    some.stage(0, some.batch(0), last=True)
    some.stage(0, some.batch(0), last=True)
    assert len(counted) == 2 * len(some)


def test_the_order_of_a_fit_does_not_depend_on_what_is_kept(counted, monkeypatch):
    chosen = settings("model.method=sparse", "model.n_inducing=8", "model.refine=true")
    potentials = []
    for memory in (0.0, 1e9):
        monkeypatch.setattr("gpjaxpot.potential.solve.StagedSet", lambda k, f, *_, m=memory: StagedSet(k, f, m))
        potentials.append(gp.fit(labelled(5), soap(), gp.DotPower(2), settings=chosen))
    first, second = (p.predict(labelled(6)[5], uncertainty=True) for p in potentials)
    for name in ("energy", "forces", "energy_std", "forces_std"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
