"""The pairs of a batch without its padding, and the sums that turn what they carry into forces and stresses."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.blocks import VOIGT
from gpjaxpot.structures.batch import Batch, displacements


@dataclass(frozen=True)
class PairSums:
    """Pairs in the order of their centres, and the matrix that adds up derivatives by their displacements.

    Rows of the matrix are those of [forces (x, atom) | stress (voigt, structure)], columns (pair, x); stresses of
    structures without a volume are 0.
    """

    centre: Int[np.ndarray, " pairs"]
    slot: Int[np.ndarray, " pairs"]
    adds: scipy.sparse.csr_matrix
    n_atoms: int
    n_structures: int

    @classmethod
    def of(cls, batch: Batch, centres: Int[AnyArray, " some"] | None = None) -> "PairSums":
        """Pairs of all centres of a batch, or of `centres` alone."""
        mask = np.asarray(batch.mask)
        if centres is not None:
            mask = mask & np.isin(np.arange(batch.n_atoms), centres)
        centre, slot = np.nonzero(mask.T)
        n, n_pairs = batch.n_atoms, len(slot)
        other = np.asarray(batch.others)[slot, centre]
        r = np.asarray(displacements(batch))[:, slot, centre]
        owner = np.asarray(batch.owner)[centre]
        per_volume = np.nan_to_num(1.0 / np.asarray(batch.volumes)[owner])
        entries = []
        for x in range(3):
            column = 3 * np.arange(n_pairs) + x
            entries.append((x * n + centre, column, np.ones(n_pairs)))
            entries.append((x * n + other, column, -np.ones(n_pairs)))
            for v, (i, j) in enumerate(VOIGT):
                # Half of each of the two off-diagonal entries, which also counts a diagonal one once.
                arm = 0.5 * (r[i] * (j == x) + r[j] * (i == x))
                if x in (i, j):
                    entries.append((3 * n + v * batch.n_structures + owner, column, arm * per_volume))
        row, column, value = (np.concatenate(e) for e in zip(*entries, strict=True))
        shape = (3 * n + 6 * batch.n_structures, 3 * n_pairs)
        return cls(centre, slot, scipy.sparse.csr_matrix((value, (row, column)), shape), n, batch.n_structures)

    def moves(self, moves: Float[AnyArray, "3 slots atoms features"]) -> Float[np.ndarray, "pairs_x features"]:
        """Derivatives of the centres' features by the displacements, padding left out; rows (pair, x)."""
        picked = np.asarray(moves)[:, self.slot, self.centre]
        return np.ascontiguousarray(np.moveaxis(picked, 0, 1)).reshape(-1, moves.shape[-1])
