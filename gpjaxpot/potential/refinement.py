"""The mean of the exact posterior, solved for by conjugate gradients with a sparse posterior as preconditioner.

A sparse mean is a sum of as many functions as there are inducing environments; the exact one has a function for each
label, and predicts molecules with a third of the error.  Spreads stay those of the sparse posterior, scaled by what
structures left out tell of the refined mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Float

from gpjaxpot.covariance.contracted import Contracted
from gpjaxpot.errors import InputError
from gpjaxpot.gp.conjugate_gradients import LowRank, Solution, conjugate_gradients
from gpjaxpot.gp.left_out import WEIGHTS, LeftOut, accuracy, error_fall_spread, sparse_left_out
from gpjaxpot.gp.noise import OBSERVABLES
from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.held_out import Kept
from gpjaxpot.potential.levels import LEAST_STRUCTURES, VARIANCE, Levels, calibrated, logs
from gpjaxpot.potential.sparse_fit import Assembled
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.streaming import FIXED, under

Callback = Callable[[str, int, int], None]
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
# Noises are halved while that lowers the errors of structures left out by this share, so many times at the most, and
# while there is time for the iterations, or they are so few; the final solution takes this many times those before.
# Where the first solution does not converge, they are doubled instead, until one does.
LEAST_GAIN = 0.02
HALVINGS = 3
DOUBLINGS = 2
PRODUCTS = 170
MORE = 1.4
# Rows that are added to a second moment at once.
GRAM_ROWS = 4096


@dataclass(frozen=True)
class Refined:
    """A sparse model with the refined mean, its levels, and what to say of it; no model where none is better."""

    model: SparseModel | None
    levels: Levels
    reason: str
    errors: dict[int, Float[np.ndarray, "_"]] | None = None
    """Of the refined mean, for each structure that it was judged on, by its place; None if it was not."""

    @property
    def choice(self) -> Choice:
        """Whether it was taken, and why."""
        return Choice("model.refine", self.model is not None, self.reason)


def refine(
    assembled: Assembled,
    levels: Levels,
    free: tuple[str, ...],
    kept: Callable[[], Kept],
    asked: bool,
    products: int,
    callback: Callback,
) -> Refined:
    """Solve for the exact mean at `levels`, or at less noise if all levels are free and that predicts better.

    Args:
        assembled: the sparse model's data.
        levels: what was learned for the sparse model.
        free: levels that may still be changed.
        kept: structures to leave out, with the sparse model's covariances.
        asked: whether to refine whatever the structures left out say.
        products: with the covariance of all data, for which there is time; a few are taken in any case.
        callback: progress.

    Raises:
        InputError: for a kernel that is no function of the product of two vectors.
    """
    if not all(t.kernel.cosine for t in assembled.training.kernel.terms):
        raise InputError("model.refine wants a kernel that is a function of p·q, such as dot_power: set it to false")
    start = {k: v for k, v in levels.values.items() if k == VARIANCE or k in assembled.parts}
    count = len(assembled.data)
    count = max(count // LEFT_OUT, min(count // LEFT_OUT_OF_FEW, FEW))
    places = [i for i in assembled.kept if len(assembled.data[i])][:count]
    judged = len(places) >= LEAST_STRUCTURES and set(free) >= set(start)
    if not (judged or asked):
        return Refined(None, levels, "levels that are given, or too few structures, leave nothing to judge it by")
    system = _System.make(assembled, callback)
    reason, errors = "asked for", None
    if judged:
        best = _judge(system, assembled, start, places, kept(), asked, products, callback)
        if isinstance(best, str) and not asked:
            return Refined(None, levels, best)
        if isinstance(best, str):
            reason = f"asked for, at the sparse model's levels: {best}"
        else:
            levels, reason, errors = best
    solution = system.solve(levels.values, None, None, FINE, min(max(ITERATIONS, products), LONGEST), callback)
    if not solution.converged:
        share = solution.residual / np.sqrt(len(solution.values))
        reason += f"; {solution.iterations} iterations left a residual of {share:.2g} of the noise"
    centres = system.centres(levels.values, solution.values)
    model = eqx.tree_at(
        lambda m: m.refined, assembled.condition(levels.values), centres, is_leaf=lambda x: x is None
    )
    return Refined(model, levels, reason, errors)


def _judge(
    system: "_System",
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
    sparse = sparse_left_out(logs(start), assembled.parts, held, OBSERVABLES)
    products, spent = max(products, PRODUCTS), 0
    best, before, guess, halvings = None, float(accuracy(sparse, kinds)), None, 0
    while True:
        levels = {n: v if n == VARIANCE else v * 0.5**halvings for n, v in start.items()}
        solution = system.solve(levels, places, guess, ROUGH, min(max(COMPARED, products // 3), LONGEST), callback)
        spent += solution.iterations
        if not solution.converged:
            if best is None and halvings > -DOUBLINGS and spent < products:
                # The sparse model may need next to no noise of energies where the exact one, which fits them all, is
                # as good with more.
                halvings, guess = halvings - 1, solution.values * 2.0
                continue
            break
        errors = system.errors(levels, places, solution.values, held.kind.shape)
        by_sparse = sparse_left_out(logs(levels), assembled.parts, held, OBSERVABLES)
        left = LeftOut(jnp.asarray(errors), by_sparse.epistemic, by_sparse.unit, by_sparse.kind)
        score = float(accuracy(left, kinds))
        if best is not None and score - best[0] < LEAST_GAIN * total:
            break
        best = score, levels, left
        # Half the noise takes about twice as many iterations, and then the final solution somewhat more.
        if not 0 <= halvings < HALVINGS or spent + 2.0 * (1.0 + MORE) * solution.iterations > products:
            break
        halvings, guess = halvings + 1, solution.values * 0.5
    if best is None:
        return f"{spent} iterations did not bring the residual below the noise"
    score, levels, left = best
    gain = float(np.expm1((score - before) / total))
    spread = error_fall_spread(left, sparse, kinds)
    unsure = np.log1p(gain) < SURE * spread
    if (gain < WORTH or unsure) and not asked:
        change = 100 * gain / (1 + gain)
        how = f"fall by {change:.1f} ± {100 * spread:.1f} % only" if gain > 0 else f"rise by {-change:.1f} %"
        return f"errors of {len(places)} structures left out would {how}"
    found = calibrated(levels, left, places)
    errors = {i: np.asarray(row)[: len(assembled.data[i])] for i, row in zip(places, left.error, strict=True)}
    return found, f"errors of {len(places)} structures left out fall by {100 * gain / (1 + gain):.0f} %", errors


@dataclass
class _System:
    """All observations: products with their covariance, and what the sparse model makes of it.

    `rows` are the covariances with the whitened inducing variables, and `grams` their second moments for each level,
    made from these very rows: of the sparse fit's, which differ by round-off times the whitening, the preconditioner
    would not be positive where energies are tight.
    """

    covariance: Contracted
    rows: Float[np.ndarray, "data rank"]
    grams: dict[str, Float[np.ndarray, "rank rank"]]
    assembled: Assembled
    edges: np.ndarray

    @classmethod
    def make(cls, assembled: Assembled, callback: Callback) -> "_System":
        """Stage every structure once, and keep what a product needs."""
        training, data = assembled.training, assembled.data
        edges = np.cumsum([0, *(len(o) for o in data)])
        whole = Contracted(training.kernel, int(edges[-1]))
        rank = assembled.whitening.shape[1]
        rows = np.empty((edges[-1], rank))
        for k in range(len(training)):
            batch = training.batch(k)
            staged = training.stage(k, batch, last=True)
            sizes, where = [], []
            for i, covariances in training.rows(k, assembled.inducing, batch, staged):
                sizes.append(len(training.found[i].structure))
                own = np.full(len(covariances), whole.n_data)
                own[data[i].places] = np.arange(edges[i], edges[i + 1])
                where.append(own)
                rows[edges[i] : edges[i + 1]] = covariances[data[i].places] @ assembled.whitening
            whole.add(batch, staged, sizes, where)
            callback("environments", k + 1, len(training))
        return cls(whole, rows, _grams(rows, assembled), assembled, edges)

    @property
    def kind(self) -> np.ndarray:
        """Kind of every observation."""
        return np.concatenate([o.kind for o in self.assembled.data])

    def sigma(self, levels: dict[str, float]) -> Float[np.ndarray, " data"]:
        """σ of every observation."""
        return np.concatenate([o.sigma_at(levels) for o in self.assembled.data])

    def solve(
        self,
        levels: dict[str, float],
        without: Sequence[int] | None,
        start: Float[np.ndarray, " data"] | None,
        tolerance: float,
        most: int,
        callback: Callback,
    ) -> Solution:
        """Coefficients times σ of all observations, or of all but those of the structures `without`."""
        sigma, variance = self.sigma(levels), levels[VARIANCE]
        mask = self._mask(without)
        targets = np.concatenate([o.targets for o in self.assembled.data])
        nearby = self._preconditioner(levels, sigma, mask)

        def product(v: np.ndarray) -> np.ndarray:
            return mask * (variance * self.covariance.product(mask * v / sigma) / sigma)

        def precondition(r: np.ndarray) -> np.ndarray:
            return mask * nearby(r)

        guess = None if start is None else mask * start
        fewest = min(int(np.sum(mask[self.kind == k])) for k in np.unique(self.kind))
        return conjugate_gradients(
            product, mask * targets / sigma, precondition, guess, tolerance * np.sqrt(max(fewest, 1)), most,
            lambda done, total: callback("refinement", done, total),
        )  # fmt: skip

    def _preconditioner(
        self, levels: dict[str, float], sigma: np.ndarray, mask: np.ndarray
    ) -> Callable[[np.ndarray], np.ndarray]:
        """(1 + B Bᵀ)⁻¹ of the sparse model's covariance, without the observations that are masked."""
        diagonal = np.sqrt(levels[VARIANCE]) / sigma
        gram = np.eye(self.rows.shape[1])
        for name, own in self.grams.items():
            gram += own * (levels[VARIANCE] / (1.0 if name == FIXED else levels[name]) ** 2)
        out = np.flatnonzero(mask == 0)
        left = self.rows[out] * diagonal[out, None]
        gram -= left.T @ left
        return LowRank(self.rows, diagonal, scipy.linalg.cholesky(gram, lower=True, overwrite_a=True)).solve

    def errors(
        self, levels: dict[str, float], places: Sequence[int], values: np.ndarray, shape: tuple[int, ...]
    ) -> Float[np.ndarray, "structures rows"]:
        """Labels less predictions of the structures at `places`, which `values` were solved without."""
        predicted = levels[VARIANCE] * self.covariance.product(values / self.sigma(levels))
        out = np.zeros(shape)
        for row, i in zip(out, places, strict=True):
            row[: len(self.assembled.data[i])] = (
                self.assembled.data[i].targets - predicted[self.edges[i] : self.edges[i + 1]]
            )
        return out

    def centres(self, levels: dict[str, float], values: np.ndarray) -> Centres:
        """All environments with what the data leave on them."""
        folded, gradients = self.covariance.fold(values / self.sigma(levels))
        here = self.covariance.environments()
        return Centres(here.features, here.species, jnp.asarray(folded), tuple(jnp.asarray(g.T) for g in gradients))

    def _mask(self, without: Sequence[int] | None) -> Float[np.ndarray, " data"]:
        mask = np.ones(self.edges[-1])
        for i in without or ():
            mask[self.edges[i] : self.edges[i + 1]] = 0.0
        return mask


def _grams(
    rows: Float[np.ndarray, "data rank"], assembled: Assembled
) -> dict[str, Float[np.ndarray, "rank rank"]]:
    """Second moments of the rows under each level, divided by what is known of each σ."""
    sigma = np.concatenate([o.sigma for o in assembled.data])
    grams = {}
    for name in assembled.parts:
        own = np.flatnonzero(np.concatenate([under(o, name) for o in assembled.data]))
        gram = np.zeros((rows.shape[1], rows.shape[1]))
        for start in range(0, len(own), GRAM_ROWS):
            some = own[start : start + GRAM_ROWS]
            scaled = rows[some] / sigma[some, None]
            gram += scaled.T @ scaled
        grams[name] = gram
    return grams
