"""Feature vectors for tests of kernels."""

import numpy as np


def unit_vectors(n, length=5, seed=0, positive=True) -> np.ndarray:
    """Random unit vectors as columns; with positive entries, as overlaps of densities have."""
    v = np.random.default_rng(seed).normal(size=(length, n))
    v = np.abs(v) if positive else v
    return v / np.linalg.norm(v, axis=0)
