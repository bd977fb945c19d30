r"""Inducing vectors that span all functions of a polynomial kernel: the sparse posterior on them is the exact one.

Of d components the kernel $c_1 t + c_2 t^2$ of t = p·q has as many functions as there are monomials: d linear and
d(d+1)/2 quadratic ones.  The function at the unit vectors e_a and at all $(e_a + e_b)/\sqrt2$ determines it everywhere,
so k_uᵀ K_uu⁻¹ k_u is the whole prior variance, and conditioning is Bayesian linear regression on these monomials:
exact for any amount of data.  With e_a stretched by $(d/2)^{1/4}$ the condition number of K_uu under t² is 4d − 2, with
unit vectors about d²/2.
"""

from collections.abc import Collection, Iterable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.covariance.features import Environments
from gpjaxpot.errors import InputError
from gpjaxpot.kernels import AbstractKernel, EnergyKernel
from gpjaxpot.kernels.polynomial import polynomial

SPAN = "span"


def check_spannable(kernels: Iterable[AbstractKernel]) -> None:
    """Refuse kernels of infinitely many functions, or of far too many.

    Raises:
        InputError: unless all are polynomials of p·q of degree 1 or 2.
    """
    for kernel in kernels:
        if _powers(kernel) is None:
            raise InputError(
                "model.selection=span wants a kernel that is a polynomial of p·q of degree 1 or 2: set kernel.zeta=2 "
                "(or 1), or take another selection, such as leverage"
            )


def span_size(kernel: EnergyKernel, most: int | None = None) -> int:
    """How many vectors `span` gives; with `most`, if each descriptor kept no more than so many components."""
    return sum(
        _count(_powers(term.kernel) or (), len(used) if most is None else min(most, len(used)))
        for s in range(len(kernel.species))
        for term, used in zip(kernel.terms, _components(kernel, s), strict=True)
    )


def span(kernel: EnergyKernel) -> Environments:
    """Vectors, no atoms', of each species and term, that determine every function of the kernel.

    Raises:
        InputError: as `check_spannable`.
    """
    check_spannable(t.kernel for t in kernel.terms)
    columns: list[list[np.ndarray]] = [[] for _ in kernel.terms]
    species = []
    for s in range(len(kernel.species)):
        for i, (term, used) in enumerate(zip(kernel.terms, _components(kernel, s), strict=True)):
            made = _directions(_powers(term.kernel) or (), len(used))
            for j, (other, column) in enumerate(zip(kernel.terms, columns, strict=True)):
                full = np.zeros((other.descriptor.n_features, made.shape[1]))
                if i == j:
                    full[used] = made
                column.append(full)
            species.append(np.full(made.shape[1], s, np.int32))
    features = tuple(jnp.asarray(np.concatenate(c, axis=1)) for c in columns)
    return Environments(features, jnp.asarray(np.concatenate(species)))


def _powers(kernel: AbstractKernel) -> set[int] | None:
    found = polynomial(kernel)
    return None if found is None or not set(found) <= {1, 2} else set(found)


def _components(kernel: EnergyKernel, species: int) -> list[Int[np.ndarray, " used"]]:
    """Components that vectors of a species can have, for each term: a projection may leave it fewer than others."""
    found = []
    for term in kernel.terms:
        projection = term.descriptor.projection
        every = np.arange(term.descriptor.n_features)
        found.append(every if projection is None else every[np.any(np.asarray(projection[species]) != 0.0, axis=0)])
    return found


def _count(powers: Collection[int], d: int) -> int:
    quadratic = d * (d + 1) // 2 if 2 in powers else 0
    return quadratic + (d if 1 in powers else 0)


def _directions(powers: Collection[int], d: int) -> Float[np.ndarray, "components count"]:
    one = np.eye(d)
    if 2 not in powers:
        return one
    first, second = np.triu_indices(d, 1)
    pairs = np.sqrt(0.5) * (one[:, first] + one[:, second])
    one = (0.5 * d) ** 0.25 * one
    # Under t + t² the values at p and −p tell the linear part from the quadratic one.
    return np.concatenate([one, *([-one] if 1 in powers else []), pairs], axis=1)
