"""The equations of the exact posterior of many observations, whatever solves them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.covariance.contracted import BLOCK, Contracted
from gpjaxpot.covariance.features import Environments, Stage
from gpjaxpot.gp.conjugate_gradients import Solution
from gpjaxpot.gp.lanczos import LogDeterminant
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.levels import VARIANCE
from gpjaxpot.potential.sparse_fit import Assembled
from gpjaxpot.structures.batch import Batch

Callback = Callable[[str, int, int], None]


@dataclass
class ExactSystem(ABC):
    """Observations and their covariance; the equations are (1 + S K S) x = y / σ with S = √variance / σ."""

    covariance: Contracted
    assembled: Assembled
    order: Sequence[int]
    """Structures in the order in which their observations follow each other."""

    @property
    def own(self) -> dict[int, slice]:
        """Which observations are those of each structure."""
        edges = np.cumsum([0, *(len(self.assembled.data[i]) for i in self.order)])
        return {i: slice(int(a), int(b)) for i, a, b in zip(self.order, edges[:-1], edges[1:], strict=True)}

    @property
    def kind(self) -> Int[np.ndarray, " data"]:
        """Kind of every observation."""
        return np.concatenate([self.assembled.data[i].kind for i in self.order])

    @property
    def targets(self) -> Float[np.ndarray, " data"]:
        """Every observation."""
        return np.concatenate([self.assembled.data[i].targets for i in self.order])

    def sigma(self, levels: dict[str, float]) -> Float[np.ndarray, " data"]:
        """σ of every observation."""
        return np.concatenate([self.assembled.data[i].sigma_at(levels) for i in self.order])

    def product(self, levels: dict[str, float]) -> Callable[[np.ndarray], np.ndarray]:
        """What multiplies by the covariance of all observations divided by their σ."""
        sigma, variance = self.sigma(levels), levels[VARIANCE]
        return lambda v: variance * self.covariance.product(v / sigma) / sigma

    @abstractmethod
    def solve(
        self,
        levels: dict[str, float],
        tolerance: float,
        most: int,
        callback: Callback,
        right: Float[np.ndarray, " data"] | None = None,
    ) -> Solution:
        """Coefficients times σ of all observations.

        Args:
            levels: variance and noise.
            tolerance: on the residual, in units of the noise (root mean square).
            most: iterations, at the most, where it takes any.
            callback: progress.
            right: stands for the observations divided by their σ, if it is given.
        """

    @abstractmethod
    def log_determinant(self, levels: dict[str, float], seed: int, callback: Callback) -> LogDeterminant:
        """Of 1 + S K S.

        Raises:
            ArithmeticError: if that, or what it is estimated by, is not positive.
        """

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


def contract(
    assembled: Assembled,
    order: Sequence[int],
    room: float,
    callback: Callback,
    also: Callable[[int, Batch, Stage], None] = lambda *_: None,
) -> Contracted:
    """Stage every structure in `order` once, for products with the covariance of their observations.

    These follow each other as the structures do; `also` is shown every batch, with its place.
    """
    training, data, names = assembled.training, assembled.data, sorted(order)
    if len(names) < len(data):
        training = training.of(names)
    edges = np.cumsum([0, *(len(data[i]) for i in order)])
    first = dict(zip(order, edges, strict=False))
    whole = Contracted(training.kernel, int(edges[-1]), room)
    for k in range(len(training)):
        batch = training.batch(k)
        staged = training.stage(k, batch, last=True)
        sizes, where = [], []
        for place in training.members(k):
            i = names[place]
            sizes.append(len(training.found[place].structure))
            own = np.full(1 + 3 * sizes[-1] + 6, whole.n_data)
            own[data[i].places] = first[i] + np.arange(len(data[i]))
            where.append(own)
        whole.add(batch, staged, sizes, where)
        also(k, batch, staged)
        callback("environments", k + 1, len(training))
    return whole


@eqx.filter_jit
def _energies_and_slopes(kernel: EnergyKernel, function: Centres, here: Environments):
    return function.energies_and_slopes(kernel, here.features, here.species)
