r"""One number to multiply all uncertainties by, from errors of structures that were not fitted.

The oldest calibration, which the literature calls α.  It supposes Gaussian errors; a conformal quantile (`Regular`)
does not.  `residual` and `std` are flat arrays of one length in one unit.
"""

import math

import numpy as np
from jaxtyping import Float

from gpjaxpot.errors import InputError
from gpjaxpot.uncertainty.scores import z_variance

Points = Float[np.ndarray, " points"]


def alpha_squared(residual: Points, std: Points) -> float:
    r"""$\sqrt{\langle z^2\rangle}$: the likeliest factor; a few large errors decide it.

    Raises:
        InputError: for no points, values that are not finite, or standard deviations that are not positive.

    Source: Musil et al., J. Chem. Theory Comput. 15, 906 (2019).
    """
    return math.sqrt(z_variance(np.zeros_like(residual), std, residual))


def alpha_absolute(residual: Points, std: Points) -> float:
    r"""$\sqrt{π/2}\,\langle|z|\rangle$: the same for Gaussian errors, and less moved by a few large ones.

    Raises:
        InputError: as `alpha_squared`.
    """
    alpha_squared(residual, std)  # refuses what has no z
    return math.sqrt(math.pi / 2) * float(np.mean(np.abs(residual / std)))


def alpha_crps(residual: Points, std: Points) -> float:
    r"""The factor with the least continuous ranked probability score (`crps`), least moved by a few large errors.

    The only root of $\sum_i σ_i[2φ(z_i/α) - 1/\sqrtπ]$, with φ the density of N(0, 1).

    Raises:
        InputError: as `alpha_squared`, or if so many errors are zero that no factor is too small.
    """
    from scipy.optimize import root_scalar

    alpha_squared(residual, std)
    size = np.abs(residual / std)

    def slope(log_alpha: float) -> float:
        density = np.exp(-0.5 * (size / math.exp(log_alpha)) ** 2) / math.sqrt(2 * math.pi)
        return float(np.sum(std * (2 * density - 1 / math.sqrt(math.pi))))

    large = size[size > 0]
    if not len(large) or slope(low := math.log(large.min()) - 4.0) >= 0:
        raise InputError(
            f"{int(np.sum(size == 0))} of {len(size)} errors are zero: the score is best without any uncertainty; "
            "look whether predictions and labels are the same numbers"
        )
    found = root_scalar(slope, bracket=(low, math.log(large.max()) + 4.0), method="brentq", xtol=1e-12)
    return math.exp(found.root)
