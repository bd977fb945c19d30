"""How a mean is refined follows from what memory and time there are."""

import time
from importlib import import_module

import pytest

import gpjaxpot as gp
from gpjaxpot.potential import budget, kernel_form, learned_kernel, refinement_plan, solve
from gpjaxpot.potential.sparse_cost import KEPT, PRODUCTS, SparseCost
from tests.potential.conftest import labelled, soap

N, LABELS = 200, 7


@pytest.fixture(scope="module", params=["molecules", "crystals"])
def case(request):
    """Structures that are all alike, of which a part may or may not stand for all, and their kernel."""
    frames = labelled(4, species=(1, 14), n=2, periodic=request.param == "crystals", stress=False) * (N // 4)
    kernel = gp.EnergyKernel((gp.Term(soap(n_max=4, l_max=4).with_species((1, 14)), gp.DotPower(4)),))
    return request.param, frames, kernel


def planned(case, monkeypatch, speed=1e12, before=0.0, **more):
    """A plan with 20 inducing environments, at so many multiplications and additions a second."""
    monkeypatch.setattr(budget, "_flops_per_second", lambda: speed)
    given = {"method": "sparse", "n_inducing": 20, "memory": 8.0} | more
    wanted = gp.load_settings(None, [f"model.{k}={v}" for k, v in given.items()])
    return budget.plan(case[1], case[2], wanted.model, N * LABELS, before)


def needs(case, structures):
    """Memory in bytes, and work, of a factor of molecules and of those that noise is chosen by."""
    settings = gp.load_settings(None, ["model.n_inducing=20"]).model
    cost = SparseCost(case[1], case[2], settings, N * LABELS, 1.0, 1)
    held, _, covariance, factor = cost.factor(20, structures, kept=False)
    of_part, _, beside, factor_of_part = cost.factor(20, round(refinement_plan.JUDGED * structures))
    return max(held, of_part), covariance + factor + beside + refinement_plan.LEAST_FACTORS * factor_of_part


def test_with_memory_and_time_by_factors_of_all_data(case, monkeypatch):
    found = planned(case, monkeypatch)
    assert found.refine == ""
    assert (found.effort.solver, found.effort.structures) == ("factor", None)
    assert (found.effort.factors, found.effort.judged) == (refinement_plan.MOST_FACTORS, None)
    assert "fit the budget" in found.effort.reason
    bounded = found.most_features is not None
    assert bounded is (case[0] == "molecules")
    if bounded:
        assert found.most_features > KEPT * case[2].terms[0].descriptor.n_spectrum


@pytest.mark.parametrize("by", ["memory", "time"])
@pytest.mark.parametrize("share", [0.6, 0.1])
def test_with_less_of_a_part_of_molecules_and_else_by_iterations(case, monkeypatch, by, share):
    held, flops = needs(case, round(share * N))
    shares = {"molecules": refinement_plan.MOLECULES_SHARE, "crystals": refinement_plan.GROWTH_SHARE}
    time = 900.0 * (1.0 - shares[case[0]])
    limits = {"memory": held / 1e9} if by == "memory" else {"speed": flops / time}
    found = planned(case, monkeypatch, **limits)
    if case[0] == "molecules" and share > refinement_plan.LEAST_REFINED:
        assert found.effort.solver == "factor"
        assert found.effort.structures == pytest.approx(share * N, abs=2)
        assert found.effort.judged == pytest.approx(refinement_plan.JUDGED * share * N, abs=2)
        assert found.most_features == round(KEPT * case[2].terms[0].descriptor.n_spectrum)
        assert found.effort.factors == refinement_plan.LEAST_FACTORS
    else:
        assert found.effort.solver == "iterations"
        assert f"the covariance of all {N * LABELS} observations would take" in found.effort.reason


def test_what_is_asked_for_is_done(case, monkeypatch):
    found = planned(case, monkeypatch, solver="iterations")
    assert (found.effort.solver, found.effort.reason) == ("iterations", "asked for")
    found = planned(case, monkeypatch, most_refined=50)
    assert (found.effort.solver, found.effort.structures) == ("factor", 50)
    # In settings that were resolved on a faster machine.
    found = planned(case, monkeypatch, 1.0, solver="factor", most_refined=50, refine="true")
    assert (found.effort.solver, found.effort.structures) == ("factor", 50)


@pytest.mark.parametrize("products", [refinement_plan.LEAST_PRODUCTS - 3, 60, 500])
def test_iterations_have_the_time_that_growth_leaves(case, monkeypatch, products):
    """As many products as it has room for are planned, and none where they would be too few."""
    shares = {"molecules": refinement_plan.MOLECULES_SHARE, "crystals": refinement_plan.GROWTH_SHARE}
    settings = gp.load_settings(None, ["model.n_inducing=20"]).model
    cost = SparseCost(case[1], case[2], settings, N * LABELS, 1.0, 1)
    flops = refinement_plan.OVERHEAD * cost.refinement(20, 1.0)[2]  # all that is made once is kept
    left = 900.0 * (1.0 - shares[case[0]])
    speed = flops / left * (products + 0.5) / PRODUCTS
    # As many components as are asked for: none may be given up for the sake of time.
    found = planned(case, monkeypatch, speed, solver="iterations", most_features=cost.features)
    assert found.effort.products == pytest.approx(products, 0.02, 1)  # neighbours are counted roughly here
    assert ("left for it" in found.refine) is (products < refinement_plan.LEAST_PRODUCTS)
    # What is compressed further than was expected leaves time for more.
    assert found.effort.products_with(cost.features // 2) == pytest.approx(2 * found.effort.products, rel=0.2)


@pytest.mark.parametrize("before", [0.0, 225.0, 450.0, 2000.0])
def test_what_learning_a_kernel_took_is_taken_from_the_time(case, monkeypatch, before):
    """Of iterations and of inducing environments; half of the time is left in any case."""
    share = max(1.0 - before / 900.0, budget.LEAST_LEFT)
    settings = gp.load_settings(None, ["model.n_inducing=20"]).model
    cost = SparseCost(case[1], case[2], settings, N * LABELS, 1.0, 1)
    wanted = {"solver": "iterations", "most_features": cost.features}
    speed = 300 * refinement_plan.OVERHEAD * cost.refinement(20, 1.0)[2] / PRODUCTS / 900.0
    whole = planned(case, monkeypatch, speed, **wanted)
    found = planned(case, monkeypatch, speed, before, **wanted)
    assert found.effort.products == pytest.approx(share * whole.effort.products, abs=1)
    assert found.seconds == pytest.approx(whole.seconds + before)
    speed = budget.OVERHEAD * cost.sparse(100)[1] / (share * 900.0)
    grown = planned(case, monkeypatch, speed, before, n_inducing="auto", refine="false")
    equal = planned(case, monkeypatch, speed * share, n_inducing="auto", refine="false")
    assert budget.LEAST_INDUCING < grown.n_inducing == equal.n_inducing < 100


def test_a_fit_plans_with_the_time_that_learning_its_kernel_left(monkeypatch):
    # The module: its package has a function of that name.
    fitting = import_module("gpjaxpot.potential.fit")
    learn, plan, told = fitting.learn_kernel, budget.plan, []

    def slowly(*given):
        time.sleep(0.2)
        return learn(*given)

    def planning(frames, kernel, model, n, before, crew, leaves_out):
        told.append(before)
        return plan(frames, kernel, model, n, before, crew, leaves_out)

    monkeypatch.setattr(fitting, "learn_kernel", slowly)
    for module in (fitting, solve):
        monkeypatch.setattr(module, "plan", planning)
    wanted = ["model.method=sparse", "model.n_inducing=4", "model.refine=false", "train.search=false"]
    gp.fit(labelled(3), settings=gp.load_settings(None, wanted))
    assert len(told) == 2
    assert told[0] == told[1] > 0.2


def test_an_estimate_counts_what_structures_left_out_are_asked(monkeypatch):
    monkeypatch.setattr("gpjaxpot.potential.learned_kernel.LEAST_FORCES", 10)
    monkeypatch.setattr(budget, "_flops_per_second", lambda: 1e10)
    frames = labelled(kernel_form.STRUCTURES)
    quick, fixed = (gp.load_settings(None, ["model.time=400", *more]) for more in ([], ["train.search=false"]))
    longer = budget.estimate(frames, quick).seconds - budget.estimate(frames, fixed).seconds
    assert longer == pytest.approx(learned_kernel.SECONDS + kernel_form.SECONDS_OF_USUAL)
    longer = budget.estimate(frames[1:], quick).seconds - budget.estimate(frames[1:], fixed).seconds
    assert longer == pytest.approx(learned_kernel.SECONDS)
