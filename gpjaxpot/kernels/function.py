"""A kernel of the user's own: one JAX function of two feature vectors."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gpjaxpot.errors import InputError
from gpjaxpot.kernels.abstract import AbstractKernel


class FunctionKernel(AbstractKernel):
    """Wraps ``function(p, q) -> scalar``; it must be symmetric, positive and twice differentiable.

    `parameters`, if given, are passed as third argument and can be learned; everything else the function
    closes over is fixed.  Such a kernel cannot be stored in a model file, which holds no code.
    """

    parameters: dict[str, Float[Array, "..."]] | None
    function: Callable = eqx.field(static=True)

    def __init__(self, function: Callable, parameters: dict[str, float] | None = None):
        """Keep function and parameters."""
        self.function = function
        self.parameters = (
            None
            if parameters is None
            else {name: jnp.asarray(value, float) for name, value in parameters.items()}
        )

    @property
    def cosine(self) -> bool:
        """False: nothing is known about the function."""
        return False

    def evaluate(self, p: Float[Array, " features"], q: Float[Array, " features"]) -> Array:
        """Value of the function.

        Raises:
            InputError: if it is not a scalar.
        """
        arguments = (p, q) if self.parameters is None else (p, q, self.parameters)
        value = jnp.asarray(self.function(*arguments))
        if value.shape != ():
            raise InputError(
                f"a kernel function must return one number for two vectors, got shape {value.shape}"
            )
        return value

    def profile(self, t: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """Not available."""
        raise InputError("a FunctionKernel has no profile: it is a function of two vectors")
