"""Real solid harmonics as polynomials in x, y, z: smooth at the origin and on the z axis."""

from math import factorial, pi, sqrt

import jax.numpy as jnp
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
            norm = sqrt((2 * l + 1) / (2 * pi) * factorial(l - a) / factorial(l + a))
            if m == 0:
                row.append(norm / sqrt(2) * legendre[l, 0])
            else:
                row.append(norm * legendre[l, a] * (cosine[a] if m > 0 else sine[a]))
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
