"""The mean of the exact posterior, solved for after a sparse fit.

By a factor of the covariance of all data where memory has room for it and time suffices; or else by conjugate gradients
with the sparse posterior as preconditioner.

A sparse mean is a sum of as many functions as there are inducing environments; the exact one has a function for each
label, and predicts molecules with a third of the error.  Spreads stay those of the sparse posterior, scaled by what
structures left out tell of the refined mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import equinox as eqx
import numpy as np
from jaxtyping import Float

from gpjaxpot.errors import InputError
from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.direct_system import DirectSystem
from gpjaxpot.potential.effort import Effort
from gpjaxpot.potential.exact_draws import draw_functions
from gpjaxpot.potential.exact_system import Callback
from gpjaxpot.potential.held_out import Kept, spread
from gpjaxpot.potential.iterative_system import IterativeSystem
from gpjaxpot.potential.levels import LEAST_STRUCTURES, VARIANCE, Levels
from gpjaxpot.potential.refined_evidence import RefinedEvidence
from gpjaxpot.potential.refined_levels import LONGEST, Trial
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.sparse_cost import LEFT_OUT_OF_FACTOR
from gpjaxpot.potential.sparse_fit import Assembled
from gpjaxpot.potential.sparse_model import SparseModel

# By iterations one in so many of all structures is left out to judge by, and of few more of them, up to a number; at
# most those that the sparse levels were learned on.
LEFT_OUT = 8
LEFT_OUT_OF_FEW, FEW = 4, 16
# Residual of the final solution by iterations, as that of a comparison (`refined_levels.py`), and their number, where
# there is time for no more.
FINE = 0.1
ITERATIONS = 200


@dataclass(frozen=True)
class Refined:
    """A sparse model with the refined mean, its levels, and what to say of it; no model where none is better."""

    model: SparseModel | None
    levels: Levels
    reason: str
    errors: dict[int, Float[np.ndarray, "_"]] | None = None
    """Of the refined mean, for each structure that it was judged on, by its place; None if it was not."""
    evidence: RefinedEvidence | None = None
    beside: tuple[Choice, ...] = ()
    """What was made beside the mean."""

    @property
    def choice(self) -> Choice:
        """Whether it was taken, and why."""
        return Choice("model.refine", self.model is not None, self.reason)


def refine(
    assembled: Assembled,
    levels: Levels,
    free: tuple[str, ...],
    kept: Callable[[], Kept],
    settings: Settings,
    effort: Effort,
    callback: Callback,
) -> Refined:
    """Solve for the exact mean at `levels`, or at other noise if all levels are free and that predicts better.

    Args:
        assembled: the sparse model's data.
        levels: what was learned for the sparse model.
        free: levels that may still be changed.
        kept: structures to leave out, with the sparse model's covariances.
        settings: whether to refine whatever the structures left out say, and what to make beside the mean.
        effort: what there is time and memory for.
        callback: progress.

    Raises:
        InputError: for a kernel that is no function of the product of two vectors.
    """
    terms = assembled.training.kernel.terms
    if not all(t.kernel.cosine for t in terms):
        raise InputError("model.refine wants a kernel that is a function of p·q, such as dot_power: set it to false")
    asked = settings.model.refine is True
    start = {k: v for k, v in levels.values.items() if k == VARIANCE or k in assembled.parts}
    count = len(assembled.data)
    some = _some(assembled, effort.structures)
    places = list(assembled.kept)[: _judges(assembled, some, bool(effort.factors))]
    judged = len(places) >= LEAST_STRUCTURES and set(free) >= set(start)
    if not (judged or asked):
        return Refined(None, levels, "levels that are given, or too few structures, leave nothing to judge it by")
    products = effort.products_with(sum(t.descriptor.n_features for t in terms))
    trial = Trial(assembled, start, places, kept().some(len(places)), asked) if judged else None
    chosen = None if trial is None or effort.judged is None else _noise_by_fewer(trial, kept(), effort, callback)
    if isinstance(chosen, str) and not asked:
        return Refined(None, levels, chosen)
    if effort.factors:
        # The covariance is kept for as long as noise is to be chosen.
        system = DirectSystem.make(assembled, some, places, callback, trial is not None and chosen is None)
    else:
        system = IterativeSystem.make(assembled, effort.room, callback)
    reason, errors, before = "asked for", None, levels
    if trial is not None:
        if isinstance(system, IterativeSystem):
            best = trial.by_iterations(system, products, callback)
        elif chosen is None:
            best = trial.by_factor(system, effort.factors - 1, callback)  # the last is that of the final solution
        else:
            best = chosen if isinstance(chosen, str) else trial.at(chosen, system, callback)
        if isinstance(best, str) and not asked:
            return Refined(None, levels, best)
        if isinstance(best, str):
            reason = f"asked for, at the sparse model's levels: {best}"
        else:
            levels, reason, errors = best
    most = min(max(ITERATIONS, products), LONGEST)
    try:
        solution = system.solve(levels.values, FINE, most, callback)
    except InputError as error:  # the sparse fit is not lost with it
        return Refined(None, before, str(error))
    if not solution.converged:
        share = solution.residual / np.sqrt(len(solution.values))
        reason += f"; {solution.iterations} iterations left a residual of {share:.2g} of the noise"
    centres = system.centres(levels.values, solution.values)
    model = eqx.tree_at(
        lambda m: m.refined, assembled.condition(levels.values), centres, is_leaf=lambda x: x is None
    )
    beside, evidence, wanted = [Choice("model.solver", effort.solver, effort.reason)], None, settings.model
    if effort.factors:
        why = "all" if len(some) == count else f"of {count}; the others are the sparse model's alone"
        beside.append(Choice("model.most_refined", len(some), why))
    if wanted.evidence:
        try:
            evidence = RefinedEvidence.estimate(system, levels.values, solution.values, settings.train.seed, callback)
        except ArithmeticError as error:  # the mean is not lost with it
            beside.append(Choice("model.evidence", False, str(error)))
        else:
            beside.append(Choice("model.evidence", True, evidence.reason))
    if wanted.draws:
        draws, how = draw_functions(
            system, levels.values, solution.values, wanted.draws, FINE, most, settings.train.seed, callback
        )
        model = eqx.tree_at(lambda m: m.draws, model, draws, is_leaf=lambda x: x is None)
        beside.append(Choice("model.draws", wanted.draws, how))
    return Refined(model, levels, reason, errors, evidence, tuple(beside))


def _noise_by_fewer(trial: Trial, kept: Kept, effort: Effort, callback: Callback) -> dict[str, float] | str:
    """Levels for a mean of more structures than noise is chosen with; or why there are none."""
    assembled = trial.assembled
    some = _some(assembled, effort.judged)
    places = list(trial.places)[: _judges(assembled, some, by_factor=True)]
    if len(places) < LEAST_STRUCTURES:
        return f"{len(places)} structures are too few to choose noise by"
    fewer = Trial(assembled, trial.start, places, kept.some(len(places)), trial.asked)
    system = DirectSystem.make(assembled, some, places, callback)
    found = fewer.noise(system, effort.factors, callback, more=True)
    return found if isinstance(found, str) else found[1]


def _judges(assembled: Assembled, some: Sequence[int], by_factor: bool) -> int:
    """How many of the structures that the sparse levels were learned on the exact mean is judged by, of `some`."""
    if not by_factor:
        return max(len(some) // LEFT_OUT, min(len(some) // LEFT_OUT_OF_FEW, FEW))
    rows = np.cumsum([len(assembled.data[i]) for i in assembled.kept])
    most = LEFT_OUT_OF_FACTOR * sum(len(assembled.data[i]) for i in some)
    return int(np.searchsorted(rows, most, side="right"))


def _some(assembled: Assembled, most: int | None) -> list[int]:
    """Places of so many structures, spread evenly, isolated atoms among them; of all for None."""
    count = len(assembled.data)
    if most is None or most >= count:
        return list(range(count))
    able = spread(assembled.data)
    alone = sorted(set(range(count)) - {int(i) for i in able})
    return alone + sorted(int(i) for i in able[: max(1, most - len(alone))])


def without_refined(settings: Settings) -> list[Choice]:
    """What to say of a model without a refined mean where more than the mean was asked for."""
    choices = []
    if settings.model.evidence:
        choices.append(Choice("model.evidence", False, "no mean was refined: the posterior has its own in closed form"))
    if settings.model.draws:
        why = "no mean was refined: `sample` draws from a sparse posterior, `joint` from an exact one"
        choices.append(Choice("model.draws", 0, why))
    return choices
