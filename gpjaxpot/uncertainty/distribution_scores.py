"""All scores of a set of predictions, of Gaussians or of a calibration's quantile function, as one record."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gpjaxpot.uncertainty import scores
from gpjaxpot.uncertainty.quantile_function import ONE_SIGMA, QuantileFunction

Points = Float[np.ndarray, " points"]
_TOP = 0.1
_TOP_LEVEL = 0.9


def distribution_scores(
    error: Points, std: Points, quantiles: QuantileFunction | None = None, levels: Sequence[float] = scores.LEVELS
) -> dict[str, Any]:
    """Scores of predictions whose error in units of `std` follows `quantiles`; None for the unit Gaussian.

    nll, crps (unit of the error), ece, miscalibration_area, z_variance (with σ the half-width of the 68.27 % interval),
    sharpness (mean of that σ), spearman and auroc_top5 (σ against |error|), coverage (of each level, by its text; None
    for a level that the calibration does not support), and coverage_top_decile (of 90 % intervals, among the tenth of
    the points with the largest σ).  What is undefined is None.

    Args:
        error: truth less prediction.
        std: positive; with a calibration, what its quantile function is in units of.
        quantiles: of a calibration.
        levels: of the central intervals.
    """
    used = QuantileFunction.gaussian(1.0) if quantiles is None else quantiles
    zero = np.zeros_like(std)
    z = error / std
    if quantiles is None:
        pit, unit = scores.pit(zero, std, error), 1.0
        nll, crps = scores.nll(zero, std, error), scores.crps(zero, std, error)
    else:
        pit, unit = used.pit(z), used.sigma if used.supports(ONE_SIGMA) else 0.0
        nll = float(np.mean(np.log(std) - used.log_density(z)))
        crps = float(np.mean(std * used.crps(z)))
    largest = np.argsort(-std, kind="stable")[: max(1, math.ceil(_TOP * len(std)))]
    return {
        "nll": nll if np.isfinite(nll) else None,
        "crps": crps,
        "ece": scores.ece_from_pit(pit),
        "miscalibration_area": scores.miscalibration_area_from_pit(pit),
        "z_variance": float(np.mean((z / unit) ** 2)) if unit > 0 else None,
        "spearman": or_none(scores.spearman(std, error)),
        "auroc_top5": or_none(scores.auroc_top5(std, error)),
        "sharpness": unit * scores.sharpness(std) if unit > 0 else None,
        "coverage": {f"{p:g}": _share(z, used, p) for p in levels},
        "coverage_top_decile": _share(z[largest], used, _TOP_LEVEL),
    }


def _share(z: Points, quantiles: QuantileFunction, level: float) -> float | None:
    return float(np.mean(np.abs(z) <= quantiles.width(level))) if quantiles.supports(level) else None


def or_none(score: float) -> float | None:
    """None for an undefined score: JSON has no NaN."""
    return None if np.isnan(score) else score
