"""Weights that make a neighbour fade out before the cutoff."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def smooth_cutoff(
    r: Float[Array, "*pairs"], cutoff: Float[Array, ""] | float, width: Float[Array, ""] | float
) -> Float[Array, "*pairs"]:
    r"""Weight that falls from 1 to 0 over the last `width` Å before `cutoff`.

    $1 - 10u^3 + 15u^4 - 6u^5$ with $u = (r - r_c + w)/w$ clipped to [0, 1]: the lowest polynomial
    whose first and second derivatives vanish at both ends, so it is C² everywhere.
    """
    u = jnp.clip((r - cutoff + width) / width, 0.0, 1.0)
    return 1.0 - u**3 * (10.0 - 15.0 * u + 6.0 * u**2)


def radial_weight(
    r: Float[Array, "*pairs"], scale: Float[Array, ""] | float, exponent: Float[Array, ""] | float
) -> Float[Array, "*pairs"]:
    r"""Weight $1/(1 + (r/r_0)^m)$ by which far neighbours count less; 1 at r = 0.

    Source: Willatt, Musil & Ceriotti, Phys. Chem. Chem. Phys. 20, 29661 (2018), eq. 20 (with c = 1).
    """
    return 1.0 / (1.0 + (r / scale) ** exponent)
