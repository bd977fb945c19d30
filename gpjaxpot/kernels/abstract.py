"""What a kernel is: prior covariance of the local energies of two environments, and its algebra."""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gpjaxpot.errors import InputError

# A number, or an array of no axes where it is to be learned.
Variance = int | float | Float[Array, ""]


class AbstractKernel(eqx.Module):
    """Covariance (eV², times a scale) of two environments, given by their feature vectors.

    A kernel that depends on the cosine t = p·q of two unit vectors alone says so by `cosine` and gives
    `profile(t)`: every covariance block is then a few matrix products.  Any other kernel is
    differentiated as it stands.
    """

    @property
    @abstractmethod
    def cosine(self) -> bool:
        """Whether the kernel is a function of p·q for vectors of unit length."""

    @abstractmethod
    def evaluate(self, p: Float[Array, " features"], q: Float[Array, " features"]) -> Array:
        """Covariance of one environment with one other."""

    @abstractmethod
    def profile(self, t: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """The kernel as a function of the cosine, elementwise; only where `cosine` is True."""

    def gram(
        self, p: Float[Array, "features a"], q: Float[Array, "features b"]
    ) -> Float[Array, "a b"]:
        """Covariances of all columns of `p` with all columns of `q`."""
        if self.cosine:
            return self.profile(p.T @ q)
        return jax.vmap(jax.vmap(self.evaluate, (None, 1)), (1, None))(p, q)

    def __add__(self, other: "AbstractKernel") -> "AbstractKernel":
        """Sum of two kernels."""
        return Sum((self, other))

    def __mul__(self, other: "AbstractKernel | Variance") -> "AbstractKernel":
        """Product of two kernels, or a kernel times a variance."""
        if isinstance(other, AbstractKernel):
            return Product((self, other))
        return Scaled(self, other)

    def __rmul__(self, other: Variance) -> "AbstractKernel":
        """A variance times a kernel."""
        return Scaled(self, other)


class Sum(AbstractKernel):
    """Sum of kernels on the same vectors."""

    kernels: tuple[AbstractKernel, ...]

    @property
    def cosine(self) -> bool:
        """Whether all parts are."""
        return all(k.cosine for k in self.kernels)

    def evaluate(self, p: Float[Array, " features"], q: Float[Array, " features"]) -> Array:
        """Sum of the parts."""
        return jnp.sum(jnp.stack([k.evaluate(p, q) for k in self.kernels]), axis=0)

    def profile(self, t: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """Sum of the parts' profiles."""
        return jnp.sum(jnp.stack([k.profile(t) for k in self.kernels]), axis=0)


class Product(AbstractKernel):
    """Product of kernels on the same vectors."""

    kernels: tuple[AbstractKernel, ...]

    @property
    def cosine(self) -> bool:
        """Whether all parts are."""
        return all(k.cosine for k in self.kernels)

    def evaluate(self, p: Float[Array, " features"], q: Float[Array, " features"]) -> Array:
        """Product of the parts."""
        return jnp.prod(jnp.stack([k.evaluate(p, q) for k in self.kernels]), axis=0)

    def profile(self, t: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """Product of the parts' profiles."""
        return jnp.prod(jnp.stack([k.profile(t) for k in self.kernels]), axis=0)


class Scaled(AbstractKernel):
    """A kernel times a signal variance (eV²)."""

    kernel: AbstractKernel
    variance: Float[Array, ""]

    def __init__(self, kernel: AbstractKernel, variance: Variance = 1.0):
        """Keep kernel and variance.

        Raises:
            InputError: if a plain number is not positive.
        """
        if isinstance(variance, (int, float)) and not variance > 0:
            raise InputError(f"a signal variance must be positive (eV²), got {variance}")
        self.kernel = kernel
        self.variance = jnp.asarray(variance, float)

    @property
    def cosine(self) -> bool:
        """Whether the kernel is."""
        return self.kernel.cosine

    def evaluate(self, p: Float[Array, " features"], q: Float[Array, " features"]) -> Array:
        """Variance times the kernel."""
        return self.variance * self.kernel.evaluate(p, q)

    def profile(self, t: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """Variance times the profile."""
        return self.variance * self.kernel.profile(t)
