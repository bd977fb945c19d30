"""Cosine similarity of two environments, raised to a power."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gpjaxpot.errors import InputError
from gpjaxpot.kernels.abstract import AbstractKernel


class DotPower(AbstractKernel):
    r"""$(p \cdot q)^\zeta$ for unit vectors: the SOAP kernel.

    ζ is 1, or any real number of at least 2: between 1 and 2 the second derivative, which is the
    covariance of forces, diverges at zero overlap.
    Source: Bartók, Kondor & Csányi, Phys. Rev. B 87, 184115 (2013), eq. 36.
    """

    zeta: float = eqx.field(static=True)

    def __init__(self, zeta: int | float = 4.0):
        """Keep ζ.

        Raises:
            InputError: for ζ below 1 or strictly between 1 and 2.
        """
        if not (zeta == 1 or zeta >= 2):
            raise InputError(
                f"zeta must be 1 or at least 2, got {zeta}: in between, the covariance of forces "
                "diverges where two environments do not overlap"
            )
        self.zeta = float(zeta)

    @property
    def cosine(self) -> bool:
        """True."""
        return True

    def evaluate(self, p: Float[Array, " features"], q: Float[Array, " features"]) -> Array:
        """(p·q)^ζ."""
        return self.profile(jnp.dot(p, q))

    def profile(self, t: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """t^ζ; for a ζ that is no integer, t is taken as 0 where round-off made it negative."""
        if self.zeta.is_integer():
            return t ** int(self.zeta)
        positive = t > 0
        return jnp.where(positive, jnp.where(positive, t, 1.0) ** self.zeta, 0.0)
