"""Few numbers that tell environments apart: principal components of their vectors, and what these leave out."""

import equinox as eqx
import numpy as np
import scipy.sparse.linalg
from jaxtyping import Float

from gpjaxpot.errors import InputError

# Components whose variance is below this share of the first's are round-off.
_LEAST = 1e-10


class Reduction(eqx.Module):
    """Principal components of vectors, each of unit variance on the data they come from, and a last number: how far
    (root mean square, 1 on those data) a vector lies beside them.

    The last one is what tells a vector of a new kind, which may have no component along the old ones.
    """  # fmt: skip

    mean: Float[np.ndarray, " size"]
    directions: Float[np.ndarray, "size components"]
    """Divided by the standard deviation along each."""
    scales: Float[np.ndarray, " components"]
    beside: float
    """Root mean square length of what the components leave out of the data."""

    @classmethod
    def fit(cls, vectors: Float[np.ndarray, "points size"], components: int) -> "Reduction":
        """Take the first `components`, or as many as the vectors have.

        Raises:
            InputError: for fewer than two vectors.
        """
        if len(vectors) < 2:
            raise InputError(f"principal components need two vectors at least, got {len(vectors)}")
        mean = np.mean(vectors, axis=0)
        centred = vectors - mean
        lengths, rows = _leading(centred, components)
        variances, total = lengths**2 / len(vectors), float(np.sum(centred**2)) / len(vectors)
        kept = int(np.sum(variances > _LEAST * max(float(variances[0]), 1e-300)))
        scales = np.sqrt(variances[:kept])
        left = total - float(np.sum(variances[:kept]))
        # Where they leave nothing out, whatever lies beside them is new.
        left = float(np.sqrt(max(left, _LEAST * max(total, float(np.sum(mean**2))))))
        return cls(mean, rows[:kept].T / scales, scales, left)

    def __call__(self, vectors: Float[np.ndarray, "points size"]) -> Float[np.ndarray, "points reduced"]:
        """Reduce vectors: the components, and the length beside them."""
        centred = vectors - self.mean
        along = centred @ self.directions
        apart = np.sum(centred**2, axis=1) - np.sum((along * self.scales) ** 2, axis=1)
        return np.column_stack([along, np.sqrt(np.maximum(apart, 0.0)) / max(self.beside, 1e-300)])


def _leading(centred: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest singular values, descending, and their right vectors as rows."""
    if not np.any(centred):  # all vectors are alike
        return np.zeros(1), np.eye(1, centred.shape[1])
    if components < min(centred.shape) // 4:
        # Begun anywhere, but always at the same place.
        start = np.random.default_rng(0).normal(size=min(centred.shape))
        found = scipy.sparse.linalg.svds(centred, components, v0=start)
        lengths, rows = np.asarray(found[1]), np.asarray(found[2])
        order = np.argsort(-lengths)
        return lengths[order], rows[order]
    _, lengths, rows = np.linalg.svd(centred, full_matrices=False)
    return lengths[:components], rows[:components]
