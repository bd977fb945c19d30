"""Functions drawn from the posterior of a refined mean, on the mean's own environments."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gpjaxpot.potential.centres import Centres


class Draws(eqx.Module):
    """What tells each drawn function from the others: a draw of the prior, and what the data then leave."""

    values: Float[Array, "draws centres"]
    gradients: tuple[Float[Array, "draws _ centres"], ...]
    """On the environments of the refined mean, as its own."""
    features: tuple[Float[Array, "draws _ prior"], ...]
    species: Int[Array, " prior"]
    weights: Float[Array, "draws prior"]
    """Vectors, no atoms', whose covariances with these weights add up to the draw of the prior."""

    def __len__(self) -> int:
        """Return the number of functions."""
        return self.values.shape[0]

    def centres(self, mean: Centres, k: int) -> Centres:
        """The k-th function; `mean` is the refined one."""
        return Centres(
            tuple(jnp.concatenate([f, g[k]], axis=1) for f, g in zip(mean.features, self.features, strict=True)),
            jnp.concatenate([mean.species, self.species]),
            jnp.concatenate([self.values[k], self.weights[k]]),
            tuple(
                jnp.concatenate([g[k], jnp.zeros_like(f[k])], axis=1)
                for g, f in zip(self.gradients, self.features, strict=True)
            ),
        )

    @classmethod
    def stack(cls, data: list[Centres], prior: list[Centres]) -> "Draws":
        """Put functions together: what the data leave on their environments, and draws of the prior."""
        terms = range(len(data[0].features))
        return cls(
            jnp.stack([c.values for c in data]),
            tuple(jnp.stack([(c.gradients or ())[i] for c in data]) for i in terms),
            tuple(jnp.stack([c.features[i] for c in prior]) for i in terms),
            prior[0].species,
            jnp.stack([c.values for c in prior]),
        )
