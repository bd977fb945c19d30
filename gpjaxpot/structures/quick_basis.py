r"""A few hundred smooth functions of the positions, with the derivatives that make forces of them.

For the doctor's quick model only: pair functions of each pair of species, and, around each atom,
products of moments $\rho_{km} = \sum_j u_k(r_j)\, T_m(\hat r_j)$ with tensors $T$ of rank 0, 1 and 2,
and square roots of the densities of rank 0. Source for the moments: Shapeev, Multiscale Model.
Simul. 14, 1153 (2016); for the root: Finnis & Sinclair, Phil. Mag. A 50, 45 (1984).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from gpjaxpot.structures.pairs import find_pairs
from gpjaxpot.structures.structure import Structure

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
_PAIR_FUNCTIONS = 12
# Functions of a moment for one, two, three, … species: the number of products grows with the fourth power.
_MOMENT_FUNCTIONS = (4, 3, 2)
_DENSITY_FLOOR = 1e-2


@dataclass(frozen=True)
class Columns:
    """What one unit of each coefficient adds to energies, forces and the derivatives by strain."""

    energies: Float[np.ndarray, "structures features"]
    forces: Float[np.ndarray, "components features"]
    """Rows are x, y, z of the first atom, then of the second, …"""
    strains: Float[np.ndarray, "structures 6 features"]
    """∂E/∂ε in Voigt order xx yy zz yz xz xy; divided by the volume, the stress."""


@dataclass(frozen=True)
class _Neighbours:
    centres: Int[np.ndarray, " pairs"]
    others: Int[np.ndarray, " pairs"]
    vectors: Float[np.ndarray, "pairs 3"]
    owners: Int[np.ndarray, " atoms"]
    numbers: Int[np.ndarray, " atoms"]
    n_structures: int


class QuickBasis:
    """The functions for given species, from `shortest` to `cutoff` (Å)."""

    def __init__(self, species: Sequence[int], shortest: float, cutoff: float):
        """Choose the functions."""
        self.species = tuple(species)
        self.cutoff = cutoff
        self._shortest = min(shortest, 0.8 * cutoff)
        count = _MOMENT_FUNCTIONS[min(len(self.species), len(_MOMENT_FUNCTIONS)) - 1]
        self._channels = [(b, k) for b in range(len(self.species)) for k in range(count)]
        self._count = count
        self._types = list(combinations_with_replacement(range(len(self.species)), 2))
        n = len(self._channels)
        self._products = {pair: q for q, pair in enumerate(combinations_with_replacement(range(n), 2))}
        self._per_centre = 3 * len(self._products) + n
        self.n_features = len(self._types) * _PAIR_FUNCTIONS + len(self.species) * self._per_centre

    def columns(self, structures: Sequence[Structure]) -> Columns:
        """Return the columns of several structures, one after the other."""
        near = _joined(structures, self.cutoff)
        n = len(near.numbers)
        out = Columns(
            np.zeros((near.n_structures, self.n_features)),
            np.zeros((3 * n, self.n_features)),
            np.zeros((near.n_structures, 6, self.n_features)),
        )
        r = np.linalg.norm(near.vectors, axis=1)
        unit = near.vectors / r[:, None]
        kind = np.searchsorted(self.species, near.numbers)
        a, b = kind[near.centres], kind[near.others]
        self._add_pairs(out, near, r, unit, np.minimum(a, b), np.maximum(a, b))
        value, slope = self._radial(r, self._count)
        start = 0
        for rank in range(3):
            tensor, gradient = _tensors(unit, r, rank)
            moment = value[:, :, None] * tensor[:, None, :]
            moments = np.zeros((n, len(self._channels), tensor.shape[1]))
            for s in range(len(self.species)):
                chosen = np.flatnonzero(b == s)
                flat = moment[chosen].reshape(len(chosen), self._count * tensor.shape[1])
                rows = _gather(near.centres[chosen], n) @ flat
                moments[:, s * self._count : (s + 1) * self._count] = rows.reshape(n, self._count, -1)
            derivative = (
                slope[:, :, None, None] * tensor[:, None, :, None] * unit[:, None, None, :]
                + value[:, :, None, None] * gradient[:, None]
            )
            self._add_products(out, near, a, b, kind, moments, derivative, start)
            if rank == 0:
                last = 3 * len(self._products)
                self._add_roots(out, near, a, b, kind, moments[:, :, 0], derivative[:, :, 0], last)
            start += len(self._products)
        return out

    def _radial(self, r: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return Gaussians in log r that end smoothly at the cutoff, and their derivatives."""
        low, high = np.log(self._shortest), np.log(self.cutoff)
        centres = np.linspace(low, high, count + 1)[:-1] if count > 1 else np.array([low])
        width = (high - low) / count
        x = (np.log(r)[:, None] - centres) / width
        bell, fall = np.exp(-0.5 * x**2), (1 - (r / self.cutoff) ** 2)[:, None]
        slope = bell * (-x / width / r[:, None] * fall**2 - 4 * r[:, None] / self.cutoff**2 * fall)
        return bell * fall**2, slope

    def _add_pairs(self, out, near, r, unit, low, high) -> None:
        value, slope = self._radial(r, _PAIR_FUNCTIONS)
        for t, (one, two) in enumerate(self._types):
            chosen = np.flatnonzero((low == one) & (high == two))
            place = np.arange(t * _PAIR_FUNCTIONS, (t + 1) * _PAIR_FUNCTIONS)
            owner = near.owners[near.centres[chosen]]
            out.energies[:, place] += _gather(owner, near.n_structures) @ value[chosen]
            _scatter(out, near, chosen, slope[chosen, None, :] * unit[chosen, :, None], place)

    def _first(self, centre: int) -> int:
        return len(self._types) * _PAIR_FUNCTIONS + centre * self._per_centre

    def _add_products(self, out, near, a, b, kind, moments, derivative, start) -> None:
        n = len(self._channels)
        places = np.array([self._products[min(p, q), max(p, q)] for p in range(n) for q in range(n)]).reshape(n, n)
        upper = np.array(list(self._products))
        for s in range(len(self.species)):
            at = np.flatnonzero(kind == s)
            first = self._first(s) + start
            values = np.einsum("iqm,iqm->iq", moments[at][:, upper[:, 0]], moments[at][:, upper[:, 1]])
            out.energies[:, first : first + len(upper)] += _gather(near.owners[at], near.n_structures) @ values
            for t in range(len(self.species)):
                chosen = np.flatnonzero((a == s) & (b == t))
                if not len(chosen):
                    continue
                # A product of a moment with itself is met once here and has the derivative twice.
                product = np.einsum("pkmx,pbm->pxkb", derivative[chosen], moments[near.centres[chosen]], optimize=True)
                for k in range(self._count):
                    mine = t * self._count + k
                    twice = np.where(np.arange(n) == mine, 2.0, 1.0)
                    _scatter(out, near, chosen, product[:, :, k] * twice, first + places[mine])

    def _add_roots(self, out, near, a, b, kind, density, derivative, start) -> None:
        root = np.sqrt(np.maximum(density, 0.0) + _DENSITY_FLOOR)
        for s in range(len(self.species)):
            at = np.flatnonzero(kind == s)
            first = self._first(s) + start
            out.energies[:, first : first + len(self._channels)] += (
                _gather(near.owners[at], near.n_structures) @ root[at]
            )
            for t in range(len(self.species)):
                chosen = np.flatnonzero((a == s) & (b == t))
                channels = np.arange(t * self._count, (t + 1) * self._count)
                inner = 0.5 / root[near.centres[chosen]][:, None, channels]
                _scatter(out, near, chosen, derivative[chosen].transpose(0, 2, 1) * inner, first + channels)


def _joined(structures: Sequence[Structure], cutoff: float) -> _Neighbours:
    centres, others, vectors, first = [], [], [], 0
    for structure in structures:
        pairs = find_pairs(structure, cutoff)
        centres.append(pairs.centres + first)
        others.append(pairs.others + first)
        cell = np.where(np.array(structure.pbc)[:, None], structure.cell, 0.0)
        r = structure.positions
        vectors.append(r[pairs.others] + pairs.shifts @ cell - r[pairs.centres])
        first += len(structure)
    owners = np.repeat(np.arange(len(structures)), [len(s) for s in structures])
    numbers = np.concatenate([s.numbers for s in structures])
    return _Neighbours(
        np.concatenate(centres), np.concatenate(others), np.concatenate(vectors), owners, numbers, len(structures)
    )


def _tensors(unit: np.ndarray, r: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tensor of each pair (pairs, m) and its derivative by the pair's vector (pairs, m, 3)."""
    if rank == 0:
        return np.ones((len(r), 1)), np.zeros((len(r), 1, 3))
    projector = (np.eye(3) - unit[:, :, None] * unit[:, None, :]) / r[:, None, None]
    if rank == 1:
        return unit, projector
    # Off-diagonal entries stand for two of the full tensor.
    scale = np.sqrt([1.0 if i == j else 2.0 for i, j in VOIGT])
    i, j = np.array(VOIGT).T
    gradient = projector[:, i] * unit[:, j, None] + unit[:, i, None] * projector[:, j]
    return scale * unit[:, i] * unit[:, j], scale[:, None] * gradient


def _gather(rows: np.ndarray, n: int) -> csr_matrix:
    """Return the matrix that sums entries into the `n` rows they belong to."""
    return csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(n, len(rows)))


def _scatter(out: Columns, near: _Neighbours, chosen: np.ndarray, gradient: np.ndarray, place: np.ndarray) -> None:
    """Add forces and strain derivatives of energies whose derivatives by pair vectors are (pairs, 3, columns)."""
    if not len(chosen):
        return
    centre, n, width = near.centres[chosen], len(near.numbers), gradient.shape[2]
    flat = gradient.reshape(len(chosen), 3 * width)
    forces = (_gather(centre, n) - _gather(near.others[chosen], n)) @ flat
    out.forces[:, place] += forces.reshape(3 * n, width)
    vectors, owners = near.vectors[chosen], _gather(near.owners[centre], near.n_structures)
    for v, (i, j) in enumerate(VOIGT):
        part = 0.5 * (vectors[:, i, None] * gradient[:, j] + vectors[:, j, None] * gradient[:, i])
        out.strains[:, v, place] += owners @ part
