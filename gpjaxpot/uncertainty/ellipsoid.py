"""Regions that hold a vector, such as the force on an atom, with a given probability."""

import math

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float
from scipy import special

# A semi-axis is none below this share of the longest.
_FLAT = 1e-8


class Ellipsoid(eqx.Module):
    r"""All y with $(y - μ)^T Σ^{-1} (y - μ) \le q^2$, Σ positive definite, in as many directions as `centre` has.

    Conformal if q is a conformal quantile of the Mahalanobis lengths of calibration errors; they do not change when
    all vectors are rotated together.  An infinite `radius` is the whole space.

    Source: Johnstone & Cox, Conformal and Probabilistic Prediction and Applications (2021).
    """

    centre: Float[np.ndarray, " directions"]
    covariance: Float[np.ndarray, "directions directions"]
    radius: float
    """q, in units of the spread that `covariance` describes."""

    @property
    def axes(self) -> tuple[Float[np.ndarray, " directions"], Float[np.ndarray, "directions directions"]]:
        """Lengths of the semi-axes, ascending, in the unit of the vector, and their directions as columns."""
        variances, directions = np.linalg.eigh(self.covariance)
        return self.radius * np.sqrt(np.maximum(variances, 0.0)), directions

    @property
    def half_widths(self) -> Float[np.ndarray, " directions"]:
        """Half of the extent along each coordinate, in the unit of the vector."""
        return self.radius * np.sqrt(np.diagonal(self.covariance))

    @property
    def volume(self) -> float:
        """Volume in the unit of the vector to the power of its directions."""
        count = len(self.centre)
        ball = math.pi ** (count / 2) / special.gamma(count / 2 + 1)
        return float(ball * self.radius**count * math.sqrt(np.linalg.det(self.covariance)))

    def contains(self, vectors: Float[np.ndarray, "*points directions"]) -> Bool[np.ndarray, "*points"]:
        """Whether each vector lies inside or on the surface."""
        lengths, directions = self.axes
        along = np.abs((vectors - self.centre) @ directions)
        flat = lengths <= _FLAT * max(float(np.max(lengths)), 1e-300)
        if np.isinf(self.radius):
            return np.ones(along.shape[:-1], dtype=bool)
        # Along a direction without extent nothing but the centre is inside, to round-off.
        scaled = along / np.where(flat, 1.0, lengths)
        apart = np.any(flat & (along > _FLAT * max(float(np.max(np.abs(self.centre))), 1.0)), axis=-1)
        return np.asarray((np.sum(np.where(flat, 0.0, scaled) ** 2, axis=-1) <= 1.0) & ~apart)
