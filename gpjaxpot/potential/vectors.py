"""Vectors of the environments in structures, for whoever wants them as features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gpjaxpot.covariance.features import made_environments, vector_rows
from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.kernels import DotPower, EnergyKernel, Term
from gpjaxpot.potential.potential import as_structure
from gpjaxpot.potential.predictor import Neighbours


def environment_vectors(soap: SOAP, structures: Sequence[Any]) -> list[Float[np.ndarray, "atoms features"]]:
    """SOAP vectors of all atoms of each structure (`Structure`, `Frame` or `ase.Atoms`), of unit length, one a row.

    If `soap` has not all their species, it is taken with those that any of the structures has: vectors of one call
    compare.

    Raises:
        InputError: for what is no structure.
    """
    listed = [as_structure(s) for s in structures]
    species = tuple(sorted({int(z) for s in listed for z in s.numbers}))
    used = soap if set(species) <= set(soap.species) else soap.with_species(species)
    kernel = EnergyKernel((Term(used, DotPower(1)),))
    finder, found = Neighbours(kernel), []
    for structure in listed:
        made = made_environments(kernel, finder.batch(structure))
        found.append(vector_rows(made.features, len(structure)))
    return found
