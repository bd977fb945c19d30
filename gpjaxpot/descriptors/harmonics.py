"""Real solid harmonics as polynomials in x, y, z: smooth at the origin and on the z axis."""

from functools import cache
from math import factorial, pi, sqrt

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def solid_harmonics(
    r: Float[Array, "3 *points"], l_max: int
) -> list[Float[Array, "_ *points"]]:
    r"""Return $r^l Y_{lm}$ for l = 0 … `l_max`, one array of 2l + 1 rows (m = −l … l) for each l.

    $Y_{lm}$ are the orthonormal real spherical harmonics without Condon–Shortley phase: sin|m|φ for
    m < 0, cos mφ for m > 0.  Recurrence: Bigi, Fraux, Browning & Ceriotti, J. Chem. Phys. 159,
    064802 (2023), eqs. 4–10.
    """
    x, y, z = r[0], r[1], r[2]
    r2 = x * x + y * y + z * z
    cosine, sine = [jnp.ones_like(x)], [jnp.zeros_like(x)]
    for _ in range(l_max):
        cosine, sine = (
            [*cosine, x * cosine[-1] - y * sine[-1]],
            [*sine, x * sine[-1] + y * cosine[-1]],
        )
    legendre = _modified_legendre(z, r2, l_max)
    rows = []
    for l in range(l_max + 1):
        row = []
        for m in range(-l, l + 1):
            a = abs(m)
            row.append(_norm(l, a) * legendre[l, a] * (sine[a] if m < 0 else cosine[a]))
        rows.append(jnp.stack(row))
    return rows


def _modified_legendre(z: Array, r2: Array, l_max: int) -> dict[tuple[int, int], Array]:
    """Return $r^{l-m} P_l^m / sin^m θ$ without the phase (−1)^m, keyed by (l, m)."""
    q = {}
    double_factorial = 1.0
    for m in range(l_max + 1):
        q[m, m] = jnp.full_like(z, double_factorial)
        double_factorial *= 2 * m + 1
        if m < l_max:
            q[m + 1, m] = (2 * m + 1) * z * q[m, m]
        for l in range(m + 2, l_max + 1):
            q[l, m] = ((2 * l - 1) * z * q[l - 1, m] - (l + m - 1) * r2 * q[l - 2, m]) / (l - m)
    return q


@cache
def gradient_matrices(l: int) -> Float[np.ndarray, "3 m n"]:
    r"""Derivatives by x, y, z of the solid harmonics of degree `l` ≥ 1, in terms of those of degree l − 1.

    With $R_{lm} = r^l P_l^m(\cos θ) e^{imφ} / (l+m)!$ (no phase), $∂_z R_{lm} = R_{l-1,m}$,
    $(∂_x - i∂_y) R_{lm} = R_{l-1,m-1}$ and $(∂_x + i∂_y) R_{lm} = -R_{l-1,m+1}$.
    Source: Hobson, *The Theory of Spherical and Ellipsoidal Harmonics* (1931), §90.
    """
    made = np.zeros((3, 2 * l + 1, 2 * l - 1))

    def enter(axis: int, m: int, n: int, share: float) -> None:
        """Put the share that the harmonic (l − 1, n) has in the derivative of (l, m)."""
        if abs(n) < l:
            ratio = _norm(l, abs(m)) * factorial(l + abs(m))
            ratio /= _norm(l - 1, abs(n)) * factorial(l - 1 + abs(n))
            made[axis, m + l, n + l - 1] += share * ratio

    for m in range(-l, l + 1):
        enter(2, m, m, 1.0)
        if m == 0:
            enter(0, 0, 1, -1.0)
            enter(1, 0, -1, -1.0)
            continue
        a, sign = abs(m), 1 if m > 0 else -1  # negative m: the imaginary parts
        enter(0, m, sign * (a + 1), -0.5)
        enter(1, m, -sign * (a + 1), -sign * 0.5)
        if a > 1:
            enter(0, m, sign * (a - 1), 0.5)
            enter(1, m, -sign * (a - 1), -sign * 0.5)
        else:  # the imaginary part at m = 0 is zero
            enter(0 if m > 0 else 1, m, 0, 0.5)
    return made


def _norm(l: int, m: int) -> float:
    """Factor that makes the harmonics of degree l and order ±m orthonormal."""
    both = 1.0 if m else 0.5  # cos² of m = 0 has twice the mean of the others
    return sqrt(both * (2 * l + 1) / (2 * pi) * factorial(l - m) / factorial(l + m))
