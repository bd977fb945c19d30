"""The equations of the exact posterior solved by iterations, without making their matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gpjaxpot.covariance.features import Stage
from gpjaxpot.gp.conjugate_gradients import LowRank, Solution, conjugate_gradients
from gpjaxpot.gp.lanczos import LogDeterminant, log_determinant
from gpjaxpot.potential.exact_system import Callback, ExactSystem, contract
from gpjaxpot.potential.levels import VARIANCE
from gpjaxpot.potential.sparse_fit import Assembled
from gpjaxpot.potential.streaming import FIXED, under
from gpjaxpot.structures.batch import Batch

# Rows that are added to a second moment at once.
GRAM_ROWS = 4096
# Probes of the log determinant; steps of each at the most; the change of its estimate at which a probe ends.  With 30
# frames of aspirin a probe took 28 steps and lacked 0.2 of 2500, where the standard error was 23.
PROBES = 10
STEPS = 300
TOLERANCE = 0.1


@dataclass
class IterativeSystem(ExactSystem):
    """Products with the covariance of all observations, and what the sparse model makes of it as a preconditioner.

    `rows` are the covariances with the whitened inducing variables, and `grams` their second moments for each level,
    made from these very rows: of the sparse fit's, which differ by round-off times the whitening, the preconditioner
    would not be positive where energies are tight.
    """

    rows: Float[np.ndarray, "data rank"]
    grams: dict[str, Float[np.ndarray, "rank rank"]]

    @classmethod
    def make(cls, assembled: Assembled, room: float, callback: Callback) -> "IterativeSystem":
        """Keep what a product needs, and in `room` bytes what it would make again."""
        training, data = assembled.training, assembled.data
        edges = np.cumsum([0, *(len(o) for o in data)])
        rows = np.empty((edges[-1], assembled.whitening.shape[1]))

        def project(k: int, batch: Batch, staged: Stage) -> None:
            for i, covariances in training.rows(k, assembled.inducing, batch, staged):
                rows[edges[i] : edges[i + 1]] = covariances[data[i].places] @ assembled.whitening

        whole = contract(assembled, range(len(data)), room, callback, project)
        return cls(whole, assembled, range(len(data)), rows, _grams(rows, assembled))

    def solve(
        self,
        levels: dict[str, float],
        tolerance: float,
        most: int,
        callback: Callback,
        right: Float[np.ndarray, " data"] | None = None,
        without: Sequence[int] | None = None,
        start: Float[np.ndarray, " data"] | None = None,
    ) -> Solution:
        """As for any system; of all observations but those of the structures `without`, from `start`."""
        mask = self._mask(without)
        right = self.targets / self.sigma(levels) if right is None else right
        whole, nearby = self.product(levels), self.preconditioner(levels, without)

        def product(v: np.ndarray) -> np.ndarray:
            return mask * whole(mask * v)

        def precondition(r: np.ndarray) -> np.ndarray:
            return mask * nearby.solve(r)

        guess = None if start is None else mask * start
        fewest = min(int(np.sum(mask[self.kind == k])) for k in np.unique(self.kind))
        return conjugate_gradients(
            product, mask * right, precondition, guess, tolerance * np.sqrt(max(fewest, 1)), most,
            lambda done, total: callback("refinement", done, total),
        )  # fmt: skip

    def log_determinant(self, levels: dict[str, float], seed: int, callback: Callback) -> LogDeterminant:
        """Estimated by stochastic Lanczos quadrature."""
        return log_determinant(
            self.product(levels), self.preconditioner(levels), PROBES, TOLERANCE, STEPS, seed,
            lambda done, total: callback("evidence", done, total),
        )  # fmt: skip

    def preconditioner(self, levels: dict[str, float], without: Sequence[int] | None = None) -> LowRank:
        """1 + B Bᵀ of the sparse model's covariance, without the observations of the structures `without`."""
        diagonal = np.sqrt(levels[VARIANCE]) / self.sigma(levels)
        gram = np.eye(self.rows.shape[1])
        for name, own in self.grams.items():
            gram += own * (levels[VARIANCE] / (1.0 if name == FIXED else levels[name]) ** 2)
        out = np.flatnonzero(self._mask(without) == 0)
        left = self.rows[out] * diagonal[out, None]
        gram -= left.T @ left
        return LowRank(self.rows, diagonal, scipy.linalg.cholesky(gram, lower=True, overwrite_a=True))

    def errors(
        self, levels: dict[str, float], places: Sequence[int], values: np.ndarray, shape: tuple[int, ...]
    ) -> Float[np.ndarray, "structures rows"]:
        """Labels less predictions of the structures at `places`, which `values` were solved without."""
        return self._errors(levels[VARIANCE] * self.covariance.product(values / self.sigma(levels)), places, shape)

    def sparse_errors(
        self, levels: dict[str, float], places: Sequence[int], shape: tuple[int, ...]
    ) -> Float[np.ndarray, "structures rows"]:
        """The same of the sparse mean without all of these structures at once."""
        nearby, sigma = self.preconditioner(levels, places), self.sigma(levels)
        right = self._mask(places) * self.targets / sigma
        return self._errors(sigma * (right - nearby.solve(right)), places, shape)

    def _errors(
        self, predicted: Float[np.ndarray, " data"], places: Sequence[int], shape: tuple[int, ...]
    ) -> Float[np.ndarray, "structures rows"]:
        out, own = np.zeros(shape), self.own
        for row, i in zip(out, places, strict=True):
            row[: len(self.assembled.data[i])] = (
                self.assembled.data[i].targets - predicted[own[i]]
            )
        return out

    def _mask(self, without: Sequence[int] | None) -> Float[np.ndarray, " data"]:
        mask = np.ones(len(self.rows))
        own = self.own
        for i in without or ():
            mask[own[i]] = 0.0
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
