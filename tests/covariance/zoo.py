"""Energy kernels for tests of covariances: each kind, one species and two, one term and two."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from gpjaxpot.kernels import (
    AbstractKernel,
    DotPower,
    EnergyKernel,
    FunctionKernel,
    Matern52,
    SquaredExponential,
    Term,
)
from gpjaxpot.structures.batch import Batch
from tests.systems import SILICON, WATER, batch_of, projected, small_soap, structure

COSINE = {
    "ζ = 1": DotPower(1),
    "ζ = 2": DotPower(2),
    "ζ = 3.5": DotPower(3.5),
    "Matérn": 0.7 * Matern52(0.7),
    "compound": 0.3 * DotPower(4) + SquaredExponential(0.5) * Matern52(1.0),
}


class Switched(AbstractKernel):
    """One of the kernels of the cosine, chosen at run time, so that all share a compilation."""

    kernels: tuple[AbstractKernel, ...]
    chosen: Int[Array, ""]

    @property
    def cosine(self):
        return True

    def evaluate(self, p, q):
        return jax.lax.switch(self.chosen, [lambda p, q, k=k: k.evaluate(p, q) for k in self.kernels], p, q)

    def profile(self, t):
        return jax.lax.switch(self.chosen, [lambda t, k=k: k.profile(t) for k in self.kernels], t)


def _single(kernel, l_max=2) -> EnergyKernel:
    return EnergyKernel((Term(small_soap(SILICON, n_max=2, l_max=l_max), kernel),))


KERNELS = {name: _single(Switched(tuple(COSINE.values()), jnp.array(i))) for i, name in enumerate(COSINE)} | {
    "function": _single(FunctionKernel(lambda p, q: jnp.dot(p, q) ** 3), 1),
    "two species and terms": EnergyKernel(
        (
            Term(projected(small_soap(WATER, n_max=2, l_max=1), 12), DotPower(2)),
            Term(small_soap(WATER, n_max=1, l_max=1, cutoff=2.5), 0.5 * Matern52(1.2)),
        ),
        jnp.array([[1.0, 0.3], [0.3, 1.0]]),
    ),
}
# Those whose third derivative jumps where environments coincide.
LESS_SMOOTH = ("Matérn", "compound", "two species and terms")
PLACES = 4


def small_structures(kernel: EnergyKernel) -> list:
    """Return a crystal of three atoms and one of four."""
    species = kernel.species
    return [structure(species, 3), structure(species, 4, seed=5)]


def padded(kernel: EnergyKernel, s) -> Batch:
    """Pad to the one shape that these tests compile for."""
    slots = (16,) if len(kernel.species) == 1 else (12, 12)
    return batch_of(s, kernel.species, 3.5, slots=slots, atoms=PLACES)
