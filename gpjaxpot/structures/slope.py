r"""How steeply one set of energy differences runs against another that is uncertain.

$q = t e + \eta$ with exact $e$ (labels) and predictions $q$ whose errors $\eta$ have the
covariance $C + s^2 I$, by generalised least squares; $s$ by the highest likelihood. Regressing
the certain on the uncertain instead would flatten the slope. Source: Aitken, Proc. R. Soc.
Edinburgh 55, 42 (1936); Fuller, *Measurement Error Models* (1987), §1.1.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular

_SHARES = np.geomspace(1e-7, 10.0, 40)


@dataclass(frozen=True)
class Slope:
    """`value` ± `std` of predicted by actual differences; `correlation` after weighing."""

    value: float
    std: float
    correlation: float
    n: int
    """Differences it rests on."""
    open: float = 0.0
    """What `spread` leaves open of the predicted differences, over their own size."""


def energy_slope(
    actual: Float[np.ndarray, " structures"],
    predicted: Float[np.ndarray, " structures"],
    spread: Float[np.ndarray, "structures features"],
    sizes: Sequence[int],
    groups: Sequence[Hashable],
) -> Slope | None:
    """Return the slope of predicted against actual energies, within groups only.

    Energies are divided by √atoms, since errors of many atoms add like that, and a constant per
    atom is left free in each group, whose structures must have one composition.
    None if fewer than three differences are left.

    Args:
        actual: labels, any unit.
        predicted: by a model, any unit.
        spread: matrix whose product with its transpose is the covariance of `predicted`.
        sizes: numbers of atoms.
        groups: name of each structure's group.
    """
    root = np.sqrt(np.asarray(sizes, dtype=float))
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    member = np.eye(len(names))[[names[name] for name in groups]] * root[:, None]
    member /= np.linalg.norm(member, axis=0)
    # The orthonormal complement of the groups' constants.
    complement = np.linalg.qr(member, mode="complete")[0][:, member.shape[1] :]
    if complement.shape[1] < 3:
        return None
    e, q = complement.T @ (actual / root), complement.T @ (predicted / root)
    known = complement.T @ (spread / root[:, None])
    if not (e @ e > 0 and q @ q > 0):
        return None
    covariance = known @ known.T
    left_open = float(np.sqrt(np.trace(covariance) / (q @ q)))
    best, found = -np.inf, None
    for noise in _SHARES * float(np.mean(q**2)):
        factor = np.linalg.cholesky(covariance + noise * np.eye(len(e)))
        a, b = solve_triangular(factor, np.stack([e, q], axis=1), lower=True).T
        value = float(a @ b / (a @ a))
        rest = b - value * a
        likelihood = float(-0.5 * rest @ rest - np.log(np.diag(factor)).sum())
        if likelihood > best:
            best = likelihood
            # Errors that are larger than foreseen widen the standard deviation.
            surplus = max(1.0, float(rest @ rest) / max(len(e) - 1, 1))
            correlation = float(a @ b / np.sqrt((a @ a) * (b @ b)))
            found = Slope(value, float(np.sqrt(surplus / (a @ a))), correlation, len(e), left_open)
    return found
