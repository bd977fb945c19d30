r"""A function drawn from the prior, as a sum of covariances with few vectors.

For a complex normal vector g with $E\,g \bar g^T = 1$ and unit vectors p, q,

    $E\,(g \cdot p)^ζ\, \overline{(g \cdot q)^ζ} = ζ!\,(p \cdot q)^ζ$,   $E\,(g \cdot p)^ζ (g \cdot q)^ζ = 0$,

so that $\sqrt{2/ζ!}\,\mathrm{Re}(g \cdot p)^ζ$ has the covariance $(p \cdot q)^ζ$.  It is a sum of ζ powers of real
products, with $g_k = \mathrm{Re}\,g\, e^{-iπk/ζ}$:

    $\mathrm{Re}(g \cdot p)^ζ = \frac{2^{ζ-1}}{ζ} \sum_{k<ζ} (-1)^k (g_k \cdot p)^ζ$.

The mean of m of these over $\sqrt m$ keeps the covariance whatever m is, and comes near a normal distribution.  Of a
polynomial of p·q each power is drawn by itself; lengths of the vectors then tell its power from the others.
Source: the moments of a complex normal number; the idea of random features for p·q is in Kar & Karnick, Proc. Mach.
Learn. Res. 22, 583 (2012), whose products of independent signs are no sum of covariances.
"""

from math import factorial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gpjaxpot.gp.sparse import whiten
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.kernels.polynomial import polynomial
from gpjaxpot.potential.centres import Centres

# Of each power; of ζ = 2 the excess kurtosis of the value at one environment is 6 / m, of ζ = 4 it is 102 / m.
DIRECTIONS = 512


def drawable(kernel: EnergyKernel) -> bool:
    """Whether functions can be drawn from the prior: its kernels are polynomials of p·q, without a constant."""
    powers = [polynomial(t.kernel) for t in kernel.terms]
    return all(p is not None and 0 not in p for p in powers)


def prior_draw(kernel: EnergyKernel, rng: np.random.Generator, directions: int = DIRECTIONS) -> Centres:
    """Draw a function whose covariance, over many draws, is `kernel`.

    Args:
        kernel: as `drawable` wants it.
        rng: where the vectors come from.
        directions: how many random ones for each power of each term; ζ vectors for each of them and each species.

    Raises:
        ValueError: for another kernel.
    """
    if not drawable(kernel):
        raise ValueError("the kernel is no polynomial of p·q without a constant")
    columns: list[list[np.ndarray]] = [[] for _ in kernel.terms]
    weights = []
    n_species = len(kernel.species)
    every = jnp.arange(n_species)
    # Weights of the vectors of each species that give functions with the covariance of the species.
    over_species = whiten(np.asarray(kernel.coupling(every, every)))
    for i, term in enumerate(kernel.terms):
        powers = {z: float(c) for z, c in (polynomial(term.kernel) or {}).items()}
        for power, coefficient in powers.items():
            vectors, shares = _one_power(term.descriptor.n_features, power, list(powers), directions, rng)
            signs = rng.choice([-1.0, 1.0], size=(over_species.shape[1], directions))
            for j, (other, column) in enumerate(zip(kernel.terms, columns, strict=True)):
                column.append(vectors if i == j else np.zeros((other.descriptor.n_features, vectors.shape[1])))
            weights.append((over_species @ signs)[:, None, :] * shares[:, None] / np.sqrt(coefficient * directions))
    whole = np.concatenate([w.reshape(n_species, -1) for w in weights], axis=1)
    features = (np.tile(np.concatenate(c, axis=1), (1, n_species)) for c in columns)
    return Centres(
        tuple(jnp.asarray(f) for f in features),
        jnp.asarray(np.repeat(np.arange(n_species), whole.shape[1]), jnp.int32),
        jnp.asarray(whole.reshape(-1)),
    )


def _one_power(
    size: int, power: int, powers: list[int], directions: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "features vectors"], Float[np.ndarray, " copies"]]:
    """Random vectors, copy by copy of the directions, and the share of each copy.

    Of the `powers` of their products with p, only `power` is left of the sum over copies: √(2/ζ!) Re(g·p)^ζ.
    """
    real, imaginary = rng.normal(scale=np.sqrt(0.5), size=(2, size, directions))
    angles = np.pi * np.arange(power) / power
    turned = [np.cos(a) * real + np.sin(a) * imaginary for a in angles]
    lengths = 1.0 + np.arange(len(powers)) / len(powers)
    # Σ_j u_j l_j^n is 1 for the power that is wanted, and 0 for all others.
    at = np.array([float(n == power) for n in powers])
    of_lengths = np.linalg.solve(lengths[None, :] ** np.array(powers)[:, None], at)
    scale = np.sqrt(2.0 / factorial(power)) * 2.0 ** (power - 1) / power
    shares = scale * np.outer(of_lengths, (-1.0) ** np.arange(power)).ravel()
    return np.concatenate([length * g for length in lengths for g in turned], axis=1), shares
