r"""Scores of scalar predictions with a standard deviation, against the truth.

Every prediction is read as a Gaussian N(μ, σ²). `mean`, `std` and `truth` are flat arrays of one
length in one unit; the unit of a score is said in its docstring. Notation: r = y − μ, z = r/σ,
φ and Φ the density and distribution function of N(0, 1).

Sources: Gneiting & Raftery, J. Am. Stat. Assoc. 102, 359 (2007) for the proper scores; Gneiting,
Balabdaoui & Raftery, J. R. Stat. Soc. B 69, 243 (2007) for the probability integral transform
(PIT) and sharpness; Kuleshov, Fenner & Ermon, ICML (2018) for calibration curves.
"""

import math
from collections.abc import Sequence

import numpy as np
import scipy  # finds scipy.stats, half a second, when it is asked for
from jaxtyping import Float, Int
from scipy import special

from gpjaxpot.errors import InputError

LEVELS = (0.5, 0.68, 0.9, 0.95)
"""Probabilities of the central intervals whose coverage is reported."""

Points = Float[np.ndarray, " points"]
PerBin = Float[np.ndarray, " bins"]


def nll(mean: Points, std: Points, truth: Points) -> float:
    r"""Mean negative log likelihood, $\tfrac12\ln 2\pi\sigma^2 + z^2/2$; smaller is better.

    A density has a unit: changing eV to meV adds ln 1000, so compare only within one unit.
    """
    z = _standardised(mean, std, truth)
    return float(np.mean(0.5 * math.log(2 * math.pi) + np.log(std) + 0.5 * z**2))


def crps(mean: Points, std: Points, truth: Points) -> float:
    r"""Mean continuous ranked probability score, in the unit of `truth`; smaller is better.

    $\sigma\,[z(2\Phi(z) - 1) + 2\varphi(z) - 1/\sqrt\pi]$. It generalises the mean absolute error,
    which it becomes as σ → 0.
    """
    z = _standardised(mean, std, truth)
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    each = std * (z * (2 * special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return float(np.mean(each))


def crps_ensemble(
    members: Float[np.ndarray, "members points"], truth: Points, *, fair: bool = False
) -> float:
    r"""Mean continuous ranked probability score of an ensemble, in the unit of `truth`.

    $\langle|y_m - y|\rangle_m - \tfrac12\langle|y_m - y_l|\rangle_{ml}$; `fair=True` averages the
    second term over pairs m ≠ l and so is unbiased for the distribution the members come from.
    """
    count = len(members)
    if count < 1 + fair:
        raise InputError(
            f"an ensemble of {count} member(s) has no score: give at least {1 + fair} members"
        )
    ordered = np.sort(members, axis=0)
    # Σ_{m,l}|y_m − y_l| of sorted members, without making all pairs.
    weights = 2 * np.arange(count) - count + 1
    pairs = 2 * np.sum(weights[:, None] * ordered, axis=0)
    spread = pairs / (2 * count * (count - 1 if fair else count))
    return float(np.mean(np.mean(np.abs(members - truth), axis=0) - spread))


def pit(mean: Points, std: Points, truth: Points) -> Points:
    r"""Probability integral transform, $\Phi(z)$ of each point; uniform on (0, 1) if calibrated.

    A histogram that is high at both ends tells of too small σ, a hump of too large σ.
    """
    return special.ndtr(_standardised(mean, std, truth))


def ece(mean: Points, std: Points, truth: Points, bins: int = 100) -> float:
    r"""Expected calibration error of one-sided intervals: `ece_from_pit` of `pit`."""
    return ece_from_pit(pit(mean, std, truth), bins)


def ece_from_pit(pit_values: Points, bins: int = 100) -> float:
    r"""Expected calibration error, $\frac1B\sum_{b=1}^B |\hat F_U(b/B) - b/B|$; 0 is best.

    F̂_U is the empirical distribution function of the PIT values. The convention of central
    intervals found elsewhere is about twice as large; never compare across the two.
    """
    levels = np.arange(1, bins + 1) / bins
    below = np.searchsorted(np.sort(pit_values), levels, side="right")
    return float(np.mean(np.abs(below / len(pit_values) - levels)))


def miscalibration_area(mean: Points, std: Points, truth: Points) -> float:
    r"""Area between calibration curve and diagonal: `miscalibration_area_from_pit` of `pit`.

    If the residuals' true standard deviation is c σ it tends to $|\arctan(c)/\pi - 1/4|$.
    """
    return miscalibration_area_from_pit(pit(mean, std, truth))


def central_miscalibration_area(mean: Points, std: Points, truth: Points) -> float:
    r"""Area between the coverage of central intervals and their level: `central_miscalibration_area_from_pit` of `pit`.

    If the residuals' true standard deviation is c σ it tends to $2\,|\arctan(c)/\pi - 1/4|$.
    """
    return central_miscalibration_area_from_pit(pit(mean, std, truth))


def miscalibration_area_from_pit(pit_values: Points) -> float:
    r"""Miscalibration area $\int_0^1 |\hat F_U(p) - p|\,dp$, integrated exactly; 0 is best.

    The limit of `ece_from_pit` for many bins.
    """
    edges = np.concatenate([[0.0], np.sort(pit_values), [1.0]])
    steps = np.arange(len(edges) - 1) / len(pit_values)
    # ∫|p − s| dp = (p − s)|p − s|/2 over each interval where F̂ is the constant s.
    upper, lower = edges[1:] - steps, edges[:-1] - steps
    return float(np.sum(upper * np.abs(upper) - lower * np.abs(lower)) / 2)


def central_miscalibration_area_from_pit(pit_values: Points) -> float:
    r"""Miscalibration area of central intervals, $\int_0^1 |\hat c(p) - p|\,dp$, integrated exactly; 0 is best.

    ĉ(p) is the share of truths in the central interval of level p.  Twice `miscalibration_area_from_pit` where σ is
    wrong by a factor, but blind to the side on which truths lie: never compare across the two.
    """
    # A truth lies in the central interval of level p where |2U − 1| ≤ p.
    return miscalibration_area_from_pit(np.abs(2.0 * pit_values - 1.0))


def ks_from_pit(pit_values: Points) -> float:
    """Largest distance between the PIT values' distribution and the uniform one (Kolmogorov)."""
    return float(scipy.stats.kstest(pit_values, "uniform").statistic)


def z_variance(mean: Points, std: Points, truth: Points) -> float:
    """Mean of z²; 1 if σ has the right size on average, above 1 if σ is too small."""
    return float(np.mean(_standardised(mean, std, truth) ** 2))


def coverage(
    mean: Points, std: Points, truth: Points, levels: Sequence[float] = LEVELS
) -> dict[str, float]:
    """Share of truths in the central interval of each level, keyed by the level as text."""
    size = np.abs(_standardised(mean, std, truth))
    return {f"{p:g}": float(np.mean(size <= special.ndtri(0.5 + p / 2))) for p in levels}


def interval_score(lower: Points, upper: Points, truth: Points, level: float) -> float:
    r"""Mean interval (Winkler) score, in the unit of `truth`; smaller is better.

    Width of the interval, plus $2/(1-p)$ times the distance by which the truth lies outside.
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"a level is a probability between 0 and 1, such as 0.9, got {level!r}")
    beyond = np.maximum(lower - truth, 0.0) + np.maximum(truth - upper, 0.0)
    return float(np.mean(upper - lower + 2.0 / (1.0 - level) * beyond))


def sharpness(std: Points) -> float:
    """Mean σ, in its own unit; among calibrated models the smaller one is the better."""
    return float(np.mean(std))


def spearman(std: Points, error: Points) -> float:
    """Rank correlation of σ and |error|; NaN if either is constant.

    Even a perfect σ stays below 1, because an error is one draw: 0.45 for Gaussian errors whose
    ln σ has a standard deviation of 0.5.
    """
    return _correlation(scipy.stats.rankdata(std), scipy.stats.rankdata(np.abs(error)))


def oracle_spearman(
    std: Float[np.ndarray, "points *components"], draws: int = 20, seed: int = 0
) -> float:
    """The rank correlation that a perfect σ would have: with Gaussian errors drawn from these very σ.

    With several components a point, the length of its error is ranked against the root of the sum of their variances,
    as for forces; with one, |error| against σ.  No calibration can be expected to exceed it.
    """
    components = std.reshape(len(std), -1)
    size = np.sqrt(np.sum(components**2, axis=1))
    generator = np.random.default_rng(seed)
    found = [
        spearman(size, np.sqrt(np.sum((components * generator.normal(size=components.shape)) ** 2, axis=1)))
        for _ in range(draws)
    ]
    return float(np.mean(found))


def pearson(std: Points, error: Points) -> float:
    """Linear correlation of σ and |error|; NaN if either is constant."""
    return _correlation(std, np.abs(error))


def auroc_top5(std: Points, error: Points) -> float:
    """Probability that one of the 5 % largest |error| has a larger σ than one of the rest.

    The area under the receiver operating characteristic, ties counted half; 0.5 is chance. The
    5 % are rounded up, with all that equal the smallest of them; NaN if none is left over.
    """
    size = np.abs(error)
    if len(size) == 0:
        return math.nan
    threshold = np.sort(size)[-math.ceil(0.05 * len(size))]
    large = size >= threshold
    n_large, n_rest = int(np.sum(large)), int(np.sum(~large))
    if n_rest == 0:
        return math.nan
    rank_sum = float(np.sum(scipy.stats.rankdata(std)[large]))
    return (rank_sum - n_large * (n_large + 1) / 2) / (n_large * n_rest)


def binned_rmse(
    std: Points, error: Points, bins: int = 10
) -> tuple[PerBin, PerBin, Int[np.ndarray, " bins"]]:
    """Root mean variance, root mean square error and count in bins of equal count along σ.

    On the diagonal if σ is right at every size. Source: Levi et al., Sensors 22, 5540 (2022).
    """
    order = np.argsort(std, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    rmv = np.array([np.sqrt(np.mean(std[part] ** 2)) for part in parts])
    rmse = np.array([np.sqrt(np.mean(error[part] ** 2)) for part in parts])
    return rmv, rmse, np.array([len(part) for part in parts])


def ence(std: Points, error: Points, bins: int = 10) -> float:
    """Expected normalised calibration error: mean of |RMV − RMSE| / RMV over `binned_rmse`."""
    rmv, rmse, _ = binned_rmse(std, error, bins)
    return float(np.mean(np.abs(rmv - rmse) / rmv))


def _standardised(mean: Points, std: Points, truth: Points) -> Points:
    """Return z = (truth − mean)/std of finite points with positive std, at least one."""
    if len(std) == 0:
        raise InputError("no points to score: give at least one prediction with its truth")
    if not np.all(std > 0):
        raise InputError(
            f"{int(np.sum(~(std > 0)))} of {len(std)} standard deviations are not positive numbers:"
            " a Gaussian of no width has no density; add the noise, or leave these points out"
        )
    z = (truth - mean) / std
    if not np.all(np.isfinite(z)):
        raise InputError(
            f"{int(np.sum(~np.isfinite(z)))} of {len(z)} points are not finite:"
            " remove the points with NaN or infinite mean, std or truth"
        )
    return z


def _correlation(a: Points, b: Points) -> float:
    """Return Pearson's correlation, NaN where it is undefined."""
    # A spread at the level of round-off is a constant; its correlation would be noise.
    if len(a) < 2 or np.ptp(a) <= 1e-14 * np.max(np.abs(a)) or np.ptp(b) <= 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])
