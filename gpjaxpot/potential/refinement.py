"""The mean of the exact posterior, solved for by conjugate gradients with a sparse posterior as preconditioner.

A sparse mean is a sum of as many functions as there are inducing environments; the exact one has a function for each
label, and predicts molecules with a third of the error.  Spreads stay those of the sparse posterior, scaled by what
structures left out tell of the refined mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gpjaxpot.errors import InputError
from gpjaxpot.gp.left_out import WEIGHTS, LeftOut, accuracy, error_fall_spread, sparse_left_out
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.exact_draws import draw_functions
from gpjaxpot.potential.exact_system import Callback, ExactSystem
from gpjaxpot.potential.held_out import Kept
from gpjaxpot.potential.levels import LEAST_STRUCTURES, VARIANCE, Levels, calibrated, logs
from gpjaxpot.potential.refined_evidence import RefinedEvidence
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.sparse_fit import Assembled
from gpjaxpot.potential.sparse_model import SparseModel

# Of all structures one in so many is left out to judge by, and of few more of them, up to a number; at most those that
# the sparse levels were learned on.
LEFT_OUT = 8
LEFT_OUT_OF_FEW, FEW = 4, 16
# Residuals, in units of the noise, at which a comparison and the final solution end: root mean squares, were all of it
# in the kind of labels that has the fewest (energies, which forces outnumber by hundreds); iterations at the most,
# where there is time for no more, and in any case.
ROUGH = 0.3
FINE = 0.1
COMPARED = 120
ITERATIONS = 200
LONGEST = 600
# It must lower the errors of structures left out by this share, since it predicts more slowly, and so many standard
# errors: of few structures one with large errors may decide.
WORTH = 0.05
SURE = 1.5
# The sparse model may have next to no noise where the exact one, which fits all labels, is as good with more; half the
# noise takes twice the iterations, and a solution that does not converge in the time there is would be in vain.  So the
# first is for this much more noise than the sparse model's; the next for that itself, or half the way there, as there
# is time; others for half of it each, while that lowers the errors of structures left out by `LEAST_GAIN`.  The final
# solution takes `MORE` times the iterations.  Where the first does not converge, one with still more noise is tried.
# What predicts best is taken, converged or not.
FIRST = 4.0
LEAST_GAIN = 0.02
HALVINGS = 3
PRODUCTS = 280
MORE = 1.4


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
    products: int,
    room: float,
    callback: Callback,
) -> Refined:
    """Solve for the exact mean at `levels`, or at other noise if all levels are free and that predicts better.

    Args:
        assembled: the sparse model's data.
        levels: what was learned for the sparse model.
        free: levels that may still be changed.
        kept: structures to leave out, with the sparse model's covariances.
        settings: whether to refine whatever the structures left out say, and what to make beside the mean.
        products: with the covariance of all data, for which there is time; a few are taken in any case.
        room: bytes for keeping what each product would make again.
        callback: progress.

    Raises:
        InputError: for a kernel that is no function of the product of two vectors.
    """
    if not all(t.kernel.cosine for t in assembled.training.kernel.terms):
        raise InputError("model.refine wants a kernel that is a function of p·q, such as dot_power: set it to false")
    asked = settings.model.refine is True
    start = {k: v for k, v in levels.values.items() if k == VARIANCE or k in assembled.parts}
    count = len(assembled.data)
    count = max(count // LEFT_OUT, min(count // LEFT_OUT_OF_FEW, FEW))
    places = [i for i in assembled.kept if len(assembled.data[i])][:count]
    judged = len(places) >= LEAST_STRUCTURES and set(free) >= set(start)
    if not (judged or asked):
        return Refined(None, levels, "levels that are given, or too few structures, leave nothing to judge it by")
    system = ExactSystem.make(assembled, room, callback)
    reason, errors = "asked for", None
    if judged:
        best = _judge(system, assembled, start, places, kept(), asked, products, callback)
        if isinstance(best, str) and not asked:
            return Refined(None, levels, best)
        if isinstance(best, str):
            reason = f"asked for, at the sparse model's levels: {best}"
        else:
            levels, reason, errors = best
    most = min(max(ITERATIONS, products), LONGEST)
    solution = system.solve(levels.values, None, None, FINE, most, callback)
    if not solution.converged:
        share = solution.residual / np.sqrt(len(solution.values))
        reason += f"; {solution.iterations} iterations left a residual of {share:.2g} of the noise"
    centres = system.centres(levels.values, solution.values)
    model = eqx.tree_at(
        lambda m: m.refined, assembled.condition(levels.values), centres, is_leaf=lambda x: x is None
    )
    seed, beside, evidence, wanted = settings.train.seed, [], None, settings.model
    if wanted.evidence:
        try:
            evidence = RefinedEvidence.estimate(system, levels.values, solution.values, seed, callback)
        except ArithmeticError as error:  # the mean is not lost with it
            beside.append(Choice("model.evidence", False, str(error)))
        else:
            beside.append(Choice("model.evidence", True, evidence.reason))
    if wanted.draws:
        draws, how = draw_functions(
            system, levels.values, solution.values, wanted.draws, FINE, most, seed, callback
        )
        model = eqx.tree_at(lambda m: m.draws, model, draws, is_leaf=lambda x: x is None)
        beside.append(Choice("model.draws", wanted.draws, how))
    return Refined(model, levels, reason, errors, evidence, tuple(beside))


def without_refined(settings: Settings) -> list[Choice]:
    """What to say of a model without a refined mean where more than the mean was asked for."""
    choices = []
    if settings.model.evidence:
        choices.append(Choice("model.evidence", False, "no mean was refined: the posterior has its own in closed form"))
    if settings.model.draws:
        why = "no mean was refined: `sample` draws from a sparse posterior, `joint` from an exact one"
        choices.append(Choice("model.draws", 0, why))
    return choices


def _judge(
    system: "ExactSystem",
    assembled: Assembled,
    start: dict[str, float],
    places: list[int],
    kept: Kept,
    asked: bool,
    products: int,
    callback: Callback,
) -> tuple[Levels, str, dict[int, Float[np.ndarray, "_"]]] | str:
    """Levels by which structures left out are predicted best, why, and these errors; or why sparse is as good."""
    kinds, total = len(OBSERVABLES), sum(WEIGHTS)
    held = kept.some(len(places)).held(assembled.whitening)
    # Without all of them at once, as the refined mean is: each left out alone, the sparse one would be favoured.
    alone = jnp.asarray(system.sparse_errors(start, places, held.kind.shape))
    sparse = LeftOut(alone, jnp.zeros_like(alone), jnp.exp(held.log_sigma), held.kind)  # no score asks for variances
    products, spent = max(products, PRODUCTS), 0
    most = min(max(COMPARED, products // 3), LONGEST)
    best, before, guess, factor, tried = None, float(accuracy(sparse, kinds)), None, FIRST, set()
    while True:
        tried.add(factor)
        levels = {n: v if n == VARIANCE else v * factor for n, v in start.items()}
        solution = system.solve(levels, places, guess, ROUGH, most, callback)
        spent += solution.iterations
        # What has not converged, too, is judged by what it predicts: iterations that end early smooth, as noise does.
        errors = system.errors(levels, places, solution.values, held.kind.shape)
        by_sparse = sparse_left_out(logs(levels), assembled.parts, held, OBSERVABLES)
        left = LeftOut(jnp.asarray(errors), by_sparse.epistemic, by_sparse.unit, by_sparse.kind)
        score = float(accuracy(left, kinds))
        better = best is None or score > best[0] + (LEAST_GAIN * total if factor < 1.0 else 0.0)
        if better:
            share = solution.residual / np.sqrt(max(len(solution.values), 1))
            short = f", by {solution.iterations} iterations that left {share:.2g} of the noise"
            best = score, levels, left, "" if solution.converged else short
        if solution.converged:
            # For 1/c of the noise the judged and the final solution will take c times the iterations.
            cost = {c: c * solution.iterations for c in ((FIRST, 2.0) if factor == FIRST else (2.0,))}
            possible = [c for c, k in cost.items() if k <= most and spent + (1.0 + MORE) * k <= products]
            possible = [c for c in possible if factor / c not in tried]
            if not (better and possible and factor > 0.5**HALVINGS):
                break
            change = 1.0 / possible[0]
        elif factor == FIRST and spent < products:
            change = FIRST
        else:
            break
        factor, guess = change * factor, change * solution.values
    assert best is not None  # the first solution is judged in any case
    score, levels, left, ended = best
    gain = float(np.expm1((score - before) / total))
    if not np.isfinite(gain):
        return f"{spent} iterations did not bring the residual below the noise"
    spread = error_fall_spread(left, sparse, kinds)
    unsure = np.log1p(gain) < SURE * spread
    if (gain < WORTH or unsure) and not asked:
        fall = 100 * gain / (1 + gain)
        how = f"fall by {fall:.1f} ± {100 * spread:.1f} % only" if gain > 0 else f"rise by {-fall:.1f} %"
        return f"errors of {len(places)} structures left out would {how}{ended}"
    found = calibrated(levels, left, places)
    errors = {i: np.asarray(row)[: len(assembled.data[i])] for i, row in zip(places, left.error, strict=True)}
    return found, f"errors of {len(places)} structures left out fall by {100 * gain / (1 + gain):.0f} %{ended}", errors
