r"""Prior covariance of energies: a sum over the environments of two structures.

$\mathrm{cov}(E, E') = \sum_{ij} C_{Z_i Z'_j} \sum_t \kappa_t(p^t_i, q^t_j)$, where each term t has a descriptor
and a kernel of its own (for example a short and a long cutoff), and C couples species: by default like
couples to like only.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.errors import InputError
from gpjaxpot.kernels.abstract import AbstractKernel


class Term(eqx.Module):
    """A descriptor and the kernel on its vectors."""

    descriptor: SOAP
    kernel: AbstractKernel


class EnergyKernel(eqx.Module):
    """The one kernel of a model; every covariance is made from it."""

    terms: tuple[Term, ...]
    similarity: Float[Array, "species species"] | None = None

    def __check_init__(self):
        """Refuse terms that do not fit each other.

        Raises:
            InputError: for no term, terms of different species, a similarity matrix of the wrong shape or
                (when its values are known) not symmetric and positive semidefinite, or a cosine kernel on
                vectors that are not of unit length.
        """
        if not self.terms:
            raise InputError("an energy kernel needs at least one descriptor with a kernel")
        if len({t.descriptor.species for t in self.terms}) > 1:
            raise InputError("all descriptors of a model must know the same species")
        if any(t.descriptor.dscribe and t.kernel.cosine for t in self.terms):
            raise InputError(
                "DScribe's form of SOAP is not of unit length, which the cosine kernels need: "
                "use the default form, or a FunctionKernel"
            )
        if self.similarity is not None:
            _check_similarity(self.similarity, len(self.species))

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers the model knows, ascending."""
        return self.terms[0].descriptor.species

    @property
    def reach(self) -> float:
        """Distance (Å) up to which neighbours must be listed."""
        return max(t.descriptor.reach for t in self.terms)

    def coupling(self, a: Int[Array, " a"], b: Int[Array, " b"]) -> Float[Array, "a b"]:
        """Factor C for each pair of species indices."""
        if self.similarity is None:
            return (a[:, None] == b[None, :]).astype(float)
        return self.similarity[a][:, b]

    def gram(
        self,
        p: tuple[Float[Array, "_ a"], ...],
        q: tuple[Float[Array, "_ b"], ...],
        species_p: Int[Array, " a"],
        species_q: Int[Array, " b"],
    ) -> Float[Array, "a b"]:
        """Covariance (eV²) of the local energies of two sets of environments."""
        total = jnp.zeros((species_p.shape[0], species_q.shape[0]), p[0].dtype)
        for term, a, b in zip(self.terms, p, q, strict=True):
            total = total + term.kernel.gram(a, b)
        return total * self.coupling(species_p, species_q).astype(total.dtype)


def _check_similarity(matrix: Array, n_species: int) -> None:
    if matrix.shape != (n_species, n_species):
        raise InputError(
            f"species similarity must be a {n_species} × {n_species} matrix, got {matrix.shape}"
        )
    try:
        values = np.asarray(matrix)
    except Exception:  # traced, inside a transformation: checked when it was made
        return
    if not np.allclose(values, values.T) or np.linalg.eigvalsh(values).min() < -1e-10:
        raise InputError("species similarity must be symmetric and positive semidefinite")
