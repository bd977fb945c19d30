r"""Products of the covariance of many structures' observables with a vector, without making the covariance.

A vector α of one number for each observable is folded into the environments first: values a and gradients v, moved by
what the derivatives of the descriptor say.  Then environments act on environments,

    $e_i = \sum_j κ(t_{ij}) a_j + κ'(t_{ij}) p_i \cdot v_j$,
    $g_i = \partial e_i / \partial p_i = \sum_j [κ' a_j + κ'' p_i \cdot v_j] p_j + κ' v_j$,   $t_{ij} = p_i \cdot p_j$,

four matrix products of the environments with each other, and e and g are unfolded into observables as α was folded.
The cost for each structure is that of a prediction with all others; of what has the size of all pairs of environments,
which are a tenth of the covariance or less, only the t are kept, as far as there is room.
Source: the chain rule; the idea for forces alone is in Chmiela et al., Nat. Commun. 9, 3887 (2018), SI.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import Environments, Stage
from gpjaxpot.covariance.linearised import profile_derivatives
from gpjaxpot.covariance.pair_sums import PairSums
from gpjaxpot.kernels.abstract import AbstractKernel
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.structures.batch import Batch

# Pairs of environments that are taken at once: few enough to stay near the processor.
BLOCK = 1_500_000


@dataclass(frozen=True)
class _Part:
    """A batch's environments: where they begin among all, and how displacements move them."""

    first: int
    moved: Int[np.ndarray, " sums"]
    """Place in α of each row of the sums; the length of α where nothing was observed."""
    sums: PairSums
    edges: Int[np.ndarray, " atoms_and_one"]
    """Where the rows of each environment begin."""
    moves: tuple[Float[np.ndarray, "pairs_x _"], ...]


@dataclass(frozen=True)
class Own:
    """Which environments and which observables are a structure's."""

    environments: slice
    energy: int
    """Place of the energy in α; the length of α if it was not observed, as for all places."""
    observed: Int[np.ndarray, " observables"]
    """Places of the others that were observed."""
    part: int
    rows: Int[np.ndarray, " observables"]
    """Theirs in the sums of the part."""


@dataclass
class Contracted:
    """The structures that a covariance is between, as `add` was given them; `product` multiplies by it."""

    kernel: EnergyKernel
    n_data: int
    room: float = 0.0
    """Bytes for products of vectors, which no α changes; what does not fit is made for each α."""
    parts: list[_Part] = field(default_factory=list)
    structures: list[Own] = field(default_factory=list)
    _features: list[list[np.ndarray]] = field(default_factory=list)
    _species: list[np.ndarray] = field(default_factory=list)
    _energy: list[np.ndarray] = field(default_factory=list)
    _kept: dict[tuple[int, int, int], np.ndarray] = field(default_factory=dict)

    def add(self, batch: Batch, staged: Stage, sizes: Sequence[int], places: Sequence[Int[np.ndarray, "_"]]) -> None:
        """Take in a batch of structures of `sizes` atoms.

        `places` say for each structure where in α each of its [E | F (atom, xyz) | σ] is, `n_data` where it is not.
        """
        n, n_structures = batch.n_atoms, batch.n_structures
        total = sum(sizes)
        sums = PairSums.of(batch, np.arange(total))
        moved = np.full(3 * n + 6 * n_structures, self.n_data)
        energy = np.empty(total, np.int64)
        begin, first = sum(len(s) for s in self._species), 0
        for k, (size, own) in enumerate(zip(sizes, places, strict=True)):
            energy[first : first + size] = own[0]
            rows = np.empty(3 * size + 6, np.int64)
            for x in range(3):
                rows[x : 3 * size : 3] = x * n + first + np.arange(size)
            rows[3 * size :] = 3 * n + k + n_structures * np.arange(6)
            moved[rows] = own[1:]
            seen = own[1:] < self.n_data
            here = slice(begin + first, begin + first + size)
            self.structures.append(Own(here, int(own[0]), own[1:][seen], len(self.parts), rows[seen]))
            first += size
        edges = np.searchsorted(sums.centre, np.arange(total + 1)) * 3
        self.parts.append(_Part(begin, moved, sums, edges, tuple(sums.moves(m) for m in staged.moves)))
        self._features.append([np.ascontiguousarray(np.asarray(f)[:, :total].T) for f in staged.features])
        self._kept.clear()
        self._species.append(np.asarray(batch.species)[:total])
        self._energy.append(energy)

    @property
    def features(self) -> list[Float[np.ndarray, "environments _"]]:
        """Vectors of all environments under each term, as rows."""
        if len(self._features) > 1:
            self._features = [[np.concatenate(f) for f in zip(*self._features, strict=True)]]
        return self._features[0]

    @property
    def species(self) -> Int[np.ndarray, " environments"]:
        """Species indices of all environments."""
        return np.concatenate(self._species)

    def fold(
        self, alpha: Float[np.ndarray, " data"]
    ) -> tuple[Float[np.ndarray, " environments"], list[Float[np.ndarray, "environments _"]]]:
        """Values and gradients that α leaves on the environments."""
        padded = np.append(alpha, 0.0)
        values = padded[np.concatenate(self._energy)]
        gradients = [np.zeros(f.shape) for f in self.features]
        for part in self.parts:
            along: np.ndarray = part.sums.adds.T @ padded[part.moved]
            for total, moves in zip(gradients, part.moves, strict=True):
                for k, (a, b) in enumerate(zip(part.edges[:-1], part.edges[1:], strict=True)):
                    np.dot(along[a:b], moves[a:b], out=total[part.first + k])
        return values, gradients

    def unfold(
        self, energies: Float[np.ndarray, " environments"], slopes: Sequence[Float[np.ndarray, "environments _"]]
    ) -> Float[np.ndarray, " data"]:
        """The transpose of `fold`: observables from energies of environments and their slopes by the features."""
        out = np.bincount(np.concatenate(self._energy), energies, self.n_data + 1)
        for part in self.parts:
            along = np.zeros(3 * len(part.sums.centre))
            for slope, moves in zip(slopes, part.moves, strict=True):
                for k, (a, b) in enumerate(zip(part.edges[:-1], part.edges[1:], strict=True)):
                    along[a:b] += moves[a:b] @ slope[part.first + k]
            out[part.moved] += part.sums.adds @ along
        return out[:-1]

    @property
    def groups(self) -> list[Int[np.ndarray, "_"]]:
        """Species of environments that see each other: unlike ones do not, unless a similarity couples them."""
        present = np.unique(self.species)
        return [present[k : k + 1] for k in range(len(present))] if self.kernel.similarity is None else [present]

    def directions(self, structure: int, term: int) -> Float[np.ndarray, "environments observables features"]:
        """How what was observed of a structure, but for its energy, moves the vectors of its environments."""
        own = self.structures[structure]
        part = self.parts[own.part]
        adds, moves = part.sums.adds[own.rows].tocsc(), part.moves[term]
        first, last = own.environments.start - part.first, own.environments.stop - part.first
        edges = part.edges[first : last + 1]
        return np.stack([adds[:, a:b] @ moves[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)])

    def product(self, alpha: Float[np.ndarray, " data"]) -> Float[np.ndarray, " data"]:
        """The prior covariance of all observables times α."""
        values, gradients = self.fold(alpha)
        energies = np.zeros(len(values))
        slopes = [np.zeros(f.shape) for f in self.features]
        species = self.species
        groups = [np.flatnonzero(np.isin(species, group)) for group in self.groups]
        for group, own in enumerate(groups):
            rows = min(len(own), max(1, BLOCK // len(own)))
            weight = jnp.asarray(values[own])
            columns = zip(self.kernel.terms, self.features, gradients, slopes, strict=True)
            for place, (term, p, v, slope) in enumerate(columns):
                used = used_features(p[own])
                all_p, all_v = np.ascontiguousarray(p[own][:, used]), np.ascontiguousarray(v[own][:, used])
                mine = np.zeros(all_p.shape)
                for start in range(0, len(own), rows):
                    # The last block reaches back, so that all have one shape.
                    first = min(start, len(own) - rows)
                    block = own[first : first + rows]
                    coupling = None
                    if self.kernel.similarity is not None:
                        coupling = self.kernel.coupling(jnp.asarray(species[block]), jnp.asarray(species[own]))
                    here = all_p[first : first + rows]
                    t = self._keep((group, place, first), here, all_p)
                    energy, by_p, by_v = _weights(term.kernel, coupling, t, here @ all_v.T, weight)
                    done = start - first
                    energies[block[done:]] += np.asarray(energy)[done:]
                    mine[start : first + rows] = (np.asarray(by_p) @ all_p + np.asarray(by_v) @ all_v)[done:]
                slope[np.ix_(own, used)] += mine
        return self.unfold(energies, slopes)

    def _keep(
        self, key: tuple[int, int, int], some: Float[np.ndarray, "rows _"], every: Float[np.ndarray, "environments _"]
    ) -> Float[np.ndarray, "rows environments"]:
        """Products of the vectors of `some` environments with those of `every` one, kept if there is room."""
        found = self._kept.get(key)
        if found is None:
            found = some @ every.T
            if sum(t.nbytes for t in self._kept.values()) + found.nbytes <= self.room:
                self._kept[key] = found
        return found

    def environments(self) -> Environments:
        """All environments, as columns."""
        return Environments(tuple(jnp.asarray(f.T) for f in self.features), jnp.asarray(self.species, jnp.int32))


def used_features(vectors: Float[np.ndarray, "environments features"]) -> Int[np.ndarray, " used"]:
    """Those that are not 0 for all: a projection leaves some species fewer, and zeros for the rest."""
    return np.flatnonzero(np.any(vectors != 0.0, axis=0))


@eqx.filter_jit
def _weights(
    kernel: AbstractKernel,
    coupling: Float[Array, "rows environments"] | None,
    t: Float[AnyArray, "rows environments"],
    along: Float[AnyArray, "rows environments"],
    values: Float[Array, " environments"],
) -> tuple[Float[Array, " rows"], Float[Array, "rows environments"], Float[Array, "rows environments"]]:
    """Energy of each row's environment, and what its slope has of every p_j and of every v_j."""
    k0, k1, k2 = profile_derivatives(kernel, t)
    if coupling is not None:
        k0, k1, k2 = coupling * k0, coupling * k1, coupling * k2
    return k0 @ values + jnp.sum(k1 * along, axis=1), k1 * values + k2 * along, k1
