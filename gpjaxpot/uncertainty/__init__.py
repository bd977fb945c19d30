"""Scores of uncertainties, and calibrations that make them hold, as functions of arrays: for any model."""

from gpjaxpot.uncertainty.alpha import alpha_absolute, alpha_crps, alpha_squared
from gpjaxpot.uncertainty.bootstrap import share_interval
from gpjaxpot.uncertainty.calibrator import AbstractCalibrator
from gpjaxpot.uncertainty.classes import ByClass, GaussianClasses
from gpjaxpot.uncertainty.conformal import (
    conformal_quantile,
    conformal_quantiles,
    conformal_rank,
    group_weights,
    highest_level,
    mondrian_quantiles,
)
from gpjaxpot.uncertainty.conformalised import Conformalised
from gpjaxpot.uncertainty.distribution_scores import distribution_scores
from gpjaxpot.uncertainty.ellipsoid import Ellipsoid
from gpjaxpot.uncertainty.flexible import Flexible, QuantileNetwork, cross_fit, pinball
from gpjaxpot.uncertainty.members import (
    ensemble_alpha,
    ensemble_covariance,
    ensemble_rescaled,
    ensemble_std,
)
from gpjaxpot.uncertainty.novelty import Novelty
from gpjaxpot.uncertainty.quantile_function import ONE_SIGMA, QuantileFunction
from gpjaxpot.uncertainty.reduction import Reduction
from gpjaxpot.uncertainty.regular import Regular
from gpjaxpot.uncertainty.remoteness import Remoteness
from gpjaxpot.uncertainty.retrieval import retrieval_curve, retrieval_score
from gpjaxpot.uncertainty.scores import (
    LEVELS,
    auroc_top5,
    binned_rmse,
    central_miscalibration_area,
    central_miscalibration_area_from_pit,
    coverage,
    crps,
    crps_ensemble,
    ece,
    ece_from_pit,
    ence,
    interval_score,
    ks_from_pit,
    miscalibration_area,
    miscalibration_area_from_pit,
    nll,
    oracle_spearman,
    pearson,
    pit,
    sharpness,
    spearman,
    z_variance,
)
from gpjaxpot.uncertainty.vector_scores import mahalanobis_coverage, mahalanobis_squared, vector_nll, vector_pit

__all__ = [
    "AbstractCalibrator",
    "ByClass",
    "Conformalised",
    "Ellipsoid",
    "Flexible",
    "GaussianClasses",
    "LEVELS",
    "Novelty",
    "ONE_SIGMA",
    "QuantileFunction",
    "QuantileNetwork",
    "Reduction",
    "Regular",
    "Remoteness",
    "alpha_absolute",
    "alpha_crps",
    "alpha_squared",
    "auroc_top5",
    "binned_rmse",
    "central_miscalibration_area",
    "central_miscalibration_area_from_pit",
    "conformal_quantile",
    "conformal_quantiles",
    "conformal_rank",
    "coverage",
    "cross_fit",
    "crps",
    "crps_ensemble",
    "distribution_scores",
    "ece",
    "ece_from_pit",
    "ence",
    "ensemble_alpha",
    "ensemble_covariance",
    "ensemble_rescaled",
    "ensemble_std",
    "group_weights",
    "highest_level",
    "interval_score",
    "ks_from_pit",
    "mahalanobis_coverage",
    "mahalanobis_squared",
    "miscalibration_area",
    "miscalibration_area_from_pit",
    "mondrian_quantiles",
    "nll",
    "oracle_spearman",
    "pearson",
    "pinball",
    "pit",
    "retrieval_curve",
    "retrieval_score",
    "share_interval",
    "sharpness",
    "spearman",
    "vector_nll",
    "vector_pit",
    "z_variance",
]
