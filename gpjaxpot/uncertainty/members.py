"""What the members of an ensemble say together: networks trained apart, or draws of one (dropout, last layer)."""

import math

import numpy as np
from jaxtyping import Float

from gpjaxpot.errors import InputError

Members = Float[np.ndarray, "members *points"]
OfMembers = Float[np.ndarray, "*points"]


def ensemble_std(members: Members) -> OfMembers:
    r"""Unbiased standard deviation of each number over the members, $\sqrt{\sum_m(y_m - \bar y)^2/(M - 1)}$.

    In the unit of `members`.  It is epistemic: what members that know the noise of the labels say of it comes on top.

    Raises:
        InputError: if there are fewer than two members.

    Source: Peterson, Christensen & Khorshidi, Phys. Chem. Chem. Phys. 19, 10978 (2017).
    """
    _check(members, 2, "has no spread")
    return np.std(members, axis=0, ddof=1)


def ensemble_covariance(
    members: Float[np.ndarray, "members *points components"],
) -> Float[np.ndarray, "*points components components"]:
    """Unbiased covariance of the components of each vector, such as the force on an atom, over the members.

    In the square of their unit.  Of M members its rank is M − 1 at most: of fewer than four it has no inverse in three
    dimensions, and the noise of the labels has to be added before anything is held against it.

    Raises:
        InputError: if there are fewer than two members.
    """
    _check(members, 2, "has no spread")
    apart = members - np.mean(members, axis=0)
    return np.einsum("m...i,m...j->...ij", apart, apart) / (len(members) - 1)


def ensemble_alpha(members: Members, truth: OfMembers) -> float:
    r"""By what to multiply spreads of so few members, $α^2 = -\frac1M + \frac{M-3}{M-1}\langle z^2\rangle$.

    With z the error of the mean over the unbiased standard deviation.  $\sqrt{\langle z^2\rangle}$, which
    `alpha_squared` gives, is right of many members: of few the standard deviation is itself uncertain, and large z are
    those where it happens to be small.

    Raises:
        InputError: if there are fewer than four members, if all members agree on a point, or if the mean is nearer to
            the truth than the scatter of the members lets any mean of M be.

    Source: Imbalzano et al., J. Chem. Phys. 154, 074102 (2021).
    """
    _check(members, 4, "says nothing of how uncertain its own spread is")
    count = len(members)
    std = ensemble_std(members)
    if not np.all(std > 0):
        raise InputError(f"all members agree on {int(np.sum(~(std > 0)))} of {std.size} numbers: leave these out")
    squared = float(np.mean(((truth - np.mean(members, axis=0)) / std) ** 2))
    alpha = -1 / count + (count - 3) / (count - 1) * squared
    if not alpha > 0:
        raise InputError(
            f"the mean of {count} members has ⟨z²⟩ = {squared:.3g} against the truth, and the scatter of such a mean "
            f"alone would make it {(count - 1) / (count - 3) / count:.3g}: these are no independent predictions of "
            "this truth, or it is what they were trained on, or points are too few"
        )
    return math.sqrt(alpha)


def ensemble_rescaled(members: Members, alpha: float) -> Members:
    r"""Members moved away from their mean by a factor, $\bar y + α(y_m - \bar y)$.

    The mean stays; the spread of all that is derived of each of them is rescaled, too.

    Source: Musil et al., J. Chem. Theory Comput. 15, 906 (2019).
    """
    mean = np.mean(members, axis=0)
    return mean + alpha * (members - mean)


def _check(members: Members, fewest: int, why: str) -> None:
    if len(members) < fewest:
        raise InputError(f"an ensemble of {len(members)} member(s) {why}: give at least {fewest} members")
