"""What the moves of a few centres give to rows of forces and stresses, on the host.

A pair's displacement pulls at its two atoms.  What pulls at the centre, and at the cell, shares the centre's slope: it
is summed before it is multiplied by inducing vectors.  Only what pulls at the neighbours is multiplied pair by pair;
tiles of these products are scaled and added up while they are in cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.blocks import VOIGT
from gpjaxpot.structures.batch import Batch, displacements

# Centres and inducing environments of one tile: with 30 neighbours, its product is 3 MB.
CENTRES = 16
TILE = 256


@dataclass(frozen=True)
class CentreMoves:
    """The moves of successive centres, under each term of a kernel."""

    places: slice
    """Which of the centres that were asked for."""
    edges: Int[np.ndarray, " centres_and_one"]
    """Where the pairs of each centre begin."""
    pulls: scipy.sparse.csc_matrix
    """Adds pairs (x, pair) up to minus the forces (x, atom) on the neighbours; atoms are those of `touched`."""
    touched: Int[np.ndarray, " touched"]
    centres: Int[np.ndarray, " centres"]
    owners: Int[np.ndarray, " centres"]
    """Structure of each centre."""
    pairs: tuple[Float[np.ndarray, "pairs_x _"], ...]
    sums: tuple[Float[np.ndarray, "sums _"], ...]
    """How the force on each centre (three rows) and its virial (six) move its features."""

    def add(
        self,
        vectors: Sequence[Float[np.ndarray, "_ columns"]],
        slopes: Sequence[Float[np.ndarray, "all_centres columns"]],
        forces: Float[np.ndarray, "3 atoms columns"],
        virials: Float[np.ndarray, "structures 6 columns"],
    ) -> None:
        """Add to rows of forces and of virials; `slopes` are κ' of all centres that were asked for."""
        n, width = len(self.centres), slopes[0].shape[1]
        work = np.empty(3 * self.edges[-1] * min(TILE, width))
        for start in range(0, width, TILE):
            tile = slice(start, min(start + TILE, width))
            some = tile.stop - start
            for q, slope, pairs, sums in zip(vectors, slopes, self.pairs, self.sums, strict=True):
                here = slope[self.places, tile]
                moved = np.matmul(pairs, q[:, tile], out=work[: len(pairs) * some].reshape(len(pairs), some))
                by_pair = moved.reshape(3, self.edges[-1], some)
                for k in range(n):
                    by_pair[:, self.edges[k] : self.edges[k + 1]] *= here[k]
                forces[:, self.touched, tile] -= (self.pulls @ moved).reshape(3, -1, some)
                by_centre = (sums @ q[:, tile]).reshape(n, 9, some) * here[:, None]
                forces[:, self.centres, tile] += np.moveaxis(by_centre[:, :3], 1, 0)
                for k, owner in enumerate(self.owners):
                    virials[owner, :, tile] += by_centre[k, 3:]


def centre_moves(
    batch: Batch, centres: Int[np.ndarray, " some"], moves: Sequence[Float[AnyArray, "3 slots atoms _"]]
) -> Iterator[CentreMoves]:
    """Moves of `centres` of a batch, some centres after the other; those that have no neighbours may be missing."""
    mask, others = np.asarray(batch.mask), np.asarray(batch.others)
    r, owner = np.asarray(displacements(batch)), np.asarray(batch.owner)
    arrays = [np.asarray(m) for m in moves]
    for start in range(0, len(centres), CENTRES):
        places = slice(start, min(start + CENTRES, len(centres)))
        own = centres[places]
        centre, slot = np.nonzero(mask[:, own].T)
        if not len(slot):
            continue  # nothing moves
        edges = np.searchsorted(centre, np.arange(len(own) + 1))
        touched, inverse = np.unique(others[slot, own[centre]], return_inverse=True)
        n = len(slot)
        row = (len(touched) * np.arange(3)[:, None] + inverse).reshape(-1)
        pulls = scipy.sparse.csc_matrix((np.ones(3 * n), row, np.arange(3 * n + 1)), (3 * len(touched), 3 * n))
        picked = [m[:, slot, own[centre]] for m in arrays]
        arms = np.concatenate([np.ones((1, n)), r[:, slot, own[centre]]])
        sums = tuple(_sums(arms, p, edges) for p in picked)
        yield CentreMoves(
            places, edges, pulls, touched, own, owner[own], tuple(p.reshape(3 * n, p.shape[2]) for p in picked), sums
        )


def _sums(arms: np.ndarray, moves: Float[np.ndarray, "3 pairs _"], edges: np.ndarray) -> np.ndarray:
    """Σ over the pairs of each centre of moves and of moves times displacement; rows (centre, [x | voigt])."""
    out = np.zeros((len(edges) - 1, 9, moves.shape[2]))
    for k, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        both = arms[:, a:b] @ moves[:, a:b]  # [x, 1 or arm, features]
        out[k, :3] = both[:, 0]
        for v, (i, j) in enumerate(VOIGT):
            out[k, 3 + v] = 0.5 * (both[j, 1 + i] + both[i, 1 + j])
    return out.reshape(-1, moves.shape[2])
