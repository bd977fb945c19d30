"""The equations of the exact posterior of many observations, which are solved without making their matrix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Float

from gpjaxpot.covariance.contracted import BLOCK, Contracted
from gpjaxpot.covariance.features import Environments
from gpjaxpot.gp.conjugate_gradients import LowRank, Solution, conjugate_gradients
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.levels import VARIANCE
from gpjaxpot.potential.sparse_fit import Assembled
from gpjaxpot.potential.streaming import FIXED, under

Callback = Callable[[str, int, int], None]
# Rows that are added to a second moment at once.
GRAM_ROWS = 4096


@dataclass
class ExactSystem:
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
    def make(cls, assembled: Assembled, room: float, callback: Callback) -> "ExactSystem":
        """Stage every structure once, and keep what a product needs, and in `room` bytes what it would make again."""
        training, data = assembled.training, assembled.data
        edges = np.cumsum([0, *(len(o) for o in data)])
        whole = Contracted(training.kernel, int(edges[-1]), room)
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

    @property
    def targets(self) -> Float[np.ndarray, " data"]:
        """Every observation."""
        return np.concatenate([o.targets for o in self.assembled.data])

    def product(self, levels: dict[str, float]) -> Callable[[np.ndarray], np.ndarray]:
        """What multiplies by the covariance of all observations divided by their σ."""
        sigma, variance = self.sigma(levels), levels[VARIANCE]
        return lambda v: variance * self.covariance.product(v / sigma) / sigma

    def solve(
        self,
        levels: dict[str, float],
        without: Sequence[int] | None,
        start: Float[np.ndarray, " data"] | None,
        tolerance: float,
        most: int,
        callback: Callback,
        right: Float[np.ndarray, " data"] | None = None,
    ) -> Solution:
        """Coefficients times σ of all observations, or of all but those of the structures `without`.

        `right` stands for the observations divided by their σ, if it is given.
        """
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
        out = np.zeros(shape)
        for row, i in zip(out, places, strict=True):
            row[: len(self.assembled.data[i])] = (
                self.assembled.data[i].targets - predicted[self.edges[i] : self.edges[i + 1]]
            )
        return out

    def observe(self, function: Centres) -> Float[np.ndarray, " data"]:
        """What all observations would be of a function that is given by covariances at unit signal variance."""
        here, kernel = self.covariance.environments(), self.covariance.kernel
        energies = np.empty(len(here))
        slopes = [np.empty(f.shape) for f in self.covariance.features]
        rows = min(len(here), max(1, BLOCK // len(function)))
        for start in range(0, len(here), rows):
            # The last block reaches back, so that all have one shape.
            own = slice(min(start, len(here) - rows), min(start + rows, len(here)))
            some = here.take(own)
            found, moved = _energies_and_slopes(kernel, function, some)
            energies[own] = found
            for slope, by in zip(slopes, moved, strict=True):
                slope[own] = np.asarray(by).T
        return self.covariance.unfold(energies, slopes)

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


@eqx.filter_jit
def _energies_and_slopes(kernel: EnergyKernel, function: Centres, here: Environments):
    return function.energies_and_slopes(kernel, here.features, here.species)


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
