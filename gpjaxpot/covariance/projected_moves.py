"""Derivatives of projected vectors on the host, from the moves of their coefficients instead of those of spectra."""

import weakref
from threading import Lock

import numpy as np
from jaxtyping import Float, Int
from numpy.lib.stride_tricks import as_strided

from gpjaxpot.descriptors.coefficient_moves import CoefficientMoves
from gpjaxpot.descriptors.soap import SOAP, spectrum_prefactor
from gpjaxpot.descriptors.staged import unpacking

# Components at once: what turns moves into so many, 1.6 MB for n (l+1)² = 392, stays in cache (measured: of 1000 a
# sixth faster than all at once, of 400 no slower).
BLOCK = 512
# Directions of one species as symmetric matrices of channels: some components, and for each l
# [species of the neighbour, channel, (n, component)].
_Directions = list[tuple[slice, list[Float[np.ndarray, "species channels _"]]]]


def suits(soap: SOAP) -> bool:
    """Whether the derivatives are made this way: vectors of several species, projected and of unit length."""
    return soap.projection is not None and len(soap.species) > 1 and not soap.dscribe


def projected_moves(
    soap: SOAP,
    made: CoefficientMoves,
    features: Float[np.ndarray, "features atoms"],
    species: Int[np.ndarray, " atoms"],
    places: Int[np.ndarray, " some"],
    moves: Float[np.ndarray, "3 slots atoms features"],
) -> None:
    """Write into `moves` how displacements of neighbours move the `features` of the atoms at `places`, 1/Å.

    `made` is of those atoms, in this order, and may be of more.
    """
    coefficients = [np.asarray(c) for c in made.coefficients]
    shares, along = [np.asarray(s) for s in made.shares], [np.asarray(a) for a in made.along]
    norm = np.asarray(made.norm)
    kinds = species[places]
    first = 0
    for s, (share, length) in enumerate(zip(shares, along, strict=True)):
        slots = share.shape[3]
        for kind in np.unique(kinds).tolist():
            for some, directions in _KEPT.of(soap, kind):
                turn = np.empty(((soap.l_max + 1) ** 2, directions[0].shape[2]))
                for a in np.flatnonzero(kinds == kind).tolist():
                    for l, (c, own) in enumerate(zip(coefficients, directions, strict=True)):
                        np.matmul(c[a], own[s], out=turn[l**2 : (l + 1) ** 2])
                    matrix = as_strided(share[:, a], (len(share), 3 * slots), (share.strides[0], share.strides[3]))
                    by_pair = matrix.T @ turn.reshape(len(share), -1)
                    by_pair -= length[a].reshape(-1, 1) * features[some, places[a]]
                    by_pair /= norm[a]
                    moves[:, first : first + slots, places[a], some] = by_pair.reshape(3, slots, -1)
        first += slots


class _Kept:
    """Directions as matrices of channels: made once for each array of projections, and gone with it."""

    def __init__(self):
        self._arrays: dict[int, dict[int, _Directions]] = {}
        self._lock = Lock()

    def of(self, soap: SOAP, kind: int) -> _Directions:
        """Directions of the species at the place `kind`."""
        projection = soap.projection
        with self._lock:  # devices stage batches at the same time
            key = id(projection)
            if key not in self._arrays:
                self._arrays[key] = {}
                weakref.finalize(projection, self._arrays.pop, key, None)
            found = self._arrays[key]
            if kind not in found:
                found[kind] = _as_matrices(soap, np.asarray(projection)[kind])
            return found[kind]


_KEPT = _Kept()


def _as_matrices(soap: SOAP, directions: Float[np.ndarray, "spectrum features"]) -> _Directions:
    """Symmetric matrices of channels whose product with the coefficients is what a direction turns moves into."""
    places, weights = unpacking(soap.channels)
    upper = soap.channels * (soap.channels + 1) // 2
    found = []
    for start in range(0, soap.n_features, BLOCK):
        some = slice(start, min(start + BLOCK, soap.n_features))
        of_some = []
        for l in range(soap.l_max + 1):
            packed = directions[l * upper : (l + 1) * upper, some] * spectrum_prefactor(l)
            full = packed[places].reshape(*weights.shape, -1) * weights[:, :, None]
            by_species = full.reshape(soap.channels, len(soap.species), -1)
            of_some.append(np.ascontiguousarray(np.swapaxes(by_species, 0, 1)))
        found.append((some, of_some))
    return found
