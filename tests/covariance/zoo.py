"""Energy kernels for tests of covariances: each kind, one species and two, one term and two."""

import jax.numpy as jnp

from gpjaxpot.kernels import (
    DotPower,
    EnergyKernel,
    FunctionKernel,
    Matern52,
    SquaredExponential,
    Term,
)
from tests.systems import SILICON, WATER, small_soap

SIMILAR = jnp.array([[1.0, 0.3], [0.3, 1.0]])
SINGLE = small_soap(SILICON)
PAIR = small_soap(WATER, n_max=2)


def _one(kernel) -> EnergyKernel:
    return EnergyKernel((Term(SINGLE, kernel),))


KERNELS = {
    "ζ = 1": _one(DotPower(1)),
    "ζ = 3.5": _one(DotPower(3.5)),
    "Matérn": _one(0.7 * Matern52(0.7)),
    "compound": _one(0.3 * DotPower(4) + SquaredExponential(0.5) * Matern52(1.0)),
    "function": _one(FunctionKernel(lambda p, q: jnp.dot(p, q) ** 3)),
    "two species": EnergyKernel((Term(PAIR, DotPower(2)),)),
    "two species and terms, similar": EnergyKernel(
        (
            Term(PAIR, DotPower(2)),
            Term(small_soap(WATER, n_max=2, l_max=1, cutoff=2.5), 0.5 * Matern52(1.2)),
        ),
        SIMILAR,
    ),
}
