"""Class-based calibration: a conformal quantile for each class of environments, from a Gaussian mixture."""

import warnings
from collections.abc import Hashable, Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty.calibrator import AbstractCalibrator
from gpjaxpot.uncertainty.conformal import conformal_quantiles, group_places, group_weights

# Added to variances of classes, in units of the features' own.
_REGULARISATION = 1e-4
# Of expectation and maximisation, at the most.
_STEPS = 200


class GaussianClasses(eqx.Module):
    """A mixture of Gaussians with full covariances, fitted by scikit-learn; stored as plain arrays.

    Source: Zhu, Batzner, Musaelian & Kozinsky, J. Chem. Phys. 158, 164111 (2023), for mixtures on environments.
    """

    shares: Float[np.ndarray, " classes"]
    means: Float[np.ndarray, "classes size"]
    factors: Float[np.ndarray, "classes size size"]
    """Of each inverse covariance, F Fᵀ; F is upper triangular."""

    @classmethod
    def fit(cls, features: Float[np.ndarray, "points size"], count: int, seed: int = 0) -> "GaussianClasses":
        """Fit at most `count` classes, fewer where there are too few distinct points.

        Raises:
            InputError: for no points, or fewer than one class.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        if count < 1 or features.size == 0:
            raise InputError(f"a mixture needs classes and points with features, got {count} and {features.shape}")
        # Full covariances want some points for each of their numbers.
        most = max(1, len(features) // (4 * features.shape[1]))
        distinct = len(np.unique(features.round(12), axis=0))
        mixture = GaussianMixture(
            min(count, most, distinct), reg_covar=_REGULARISATION, max_iter=_STEPS, random_state=seed
        )
        if distinct < 2:
            size = features.shape[1]
            return cls(np.ones(1), features[:1].copy(), np.eye(size)[None] / np.sqrt(_REGULARISATION))
        with warnings.catch_warnings():
            # Classes that still move a little are classes as well, and a density.
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(features)
        return cls(*(np.asarray(a) for a in (mixture.weights_, mixture.means_, mixture.precisions_cholesky_)))

    def log_joint(self, features: Float[np.ndarray, "points _"]) -> Float[np.ndarray, "points classes"]:
        """Logarithm of each class's share times its density; it looks at as many columns as it was fitted to."""
        columns = []
        own = features[:, : self.means.shape[1]]
        for share, mean, factor in zip(self.shares, self.means, self.factors, strict=True):
            whitened = (own - mean) @ factor
            volume = np.sum(np.log(np.diagonal(factor))) - 0.5 * own.shape[1] * np.log(2.0 * np.pi)
            columns.append(np.log(share) + volume - 0.5 * np.sum(whitened**2, axis=1))
        return np.stack(columns, axis=1)

    def classify(self, features: Float[np.ndarray, "points _"]) -> Int[np.ndarray, " points"]:
        """The class that each point most probably belongs to."""
        return np.argmax(self.log_joint(features), axis=1)

    def log_density(self, features: Float[np.ndarray, "points _"]) -> Float[np.ndarray, " points"]:
        """Logarithm of the mixture's density."""
        joint = self.log_joint(features)
        highest = np.max(joint, axis=1)
        return highest + np.log(np.sum(np.exp(joint - highest[:, None]), axis=1))


class ByClass(AbstractCalibrator):
    """A heuristic uncertainty times a number for each class and level.

    Within every class its level is held, where the class has enough points; where not, the quantile of all holds.

    Source: Ho, Ortner & Wang, npj Comput. Mater. (2026), for classes by a Gaussian mixture; Vovk (2003), Mondrian
    confidence machines, for classes at all.
    """

    levels: Float[np.ndarray, " levels"]
    classes: GaussianClasses
    table: Float[np.ndarray, "classes levels"]

    @classmethod
    def fit(
        cls, scores: Float[np.ndarray, " points"], features: Float[np.ndarray, "points _"],
        levels: Float[np.ndarray, " levels"], classes: GaussianClasses | int = 8,
        groups: Sequence[Hashable] | np.ndarray | None = None, by: str = "point", seed: int = 0,
    ) -> "ByClass":  # fmt: skip
        """Classify by a mixture, which may be a fitted one, and take the conformal quantiles of each class.

        Args:
            scores: |error|/uncertainty.
            features: of each point; of similar size along all directions.  A fitted mixture looks at as many of the
                columns as it has directions.
            levels: of the quantiles.
            classes: mixture, or how many classes it has at most.
            groups: points that go together, such as those of a structure; None if none do.
            by: see `group_weights`; those of each class are counted by themselves.
            seed: of the mixture.

        Raises:
            InputError: if there are too few points for a level even of all classes together.
        """
        mixture = classes if isinstance(classes, GaussianClasses) else GaussianClasses.fit(features, classes, seed)
        own = mixture.classify(features)
        place = None if groups is None else group_places(groups)
        everywhere = conformal_quantiles(scores, levels, *_weights(place, by))
        if not np.all(np.isfinite(everywhere)):
            raise InputError(f"{len(scores)} scores are too few for levels up to {levels[-1]:g}: calibrate on more")
        table = []
        for c in range(len(mixture.shares)):
            here = own == c
            if not np.any(here):
                table.append(everywhere)
                continue
            found = conformal_quantiles(scores[here], levels, *_weights(None if place is None else place[here], by))
            table.append(np.where(np.isfinite(found), found, everywhere))
        return cls(levels, mixture, np.stack(table))

    def quantiles(self, features: Float[np.ndarray, "points _"]) -> Float[np.ndarray, "points levels"]:
        """Quantiles of the score at each point: what to multiply its uncertainty by."""
        return self.table[self.classes.classify(features)]


def _weights(place: np.ndarray | None, by: str) -> tuple[Float[np.ndarray, " points"] | None, float]:
    return (None, 1.0) if place is None else group_weights(place, by)
