"""Draws from a density of logarithms by the No-U-Turn sampler.

Source: Hoffman & Gelman, J. Mach. Learn. Res. 15, 1593 (2014); blackjax, with window adaptation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gpjaxpot.errors import InputError
from gpjaxpot.gp.laplace import LogDensity, as_vector

CHAINS = 2
# A trajectory has at most 2 to this power of steps.
DOUBLINGS = 6
# Above this R-hat the chains have not met: Gelman & Rubin, Stat. Sci. 7, 457 (1992).
LARGEST_R_HAT = 1.1


@dataclass(frozen=True)
class Draws:
    """Draws of logarithms, chain after chain, and how well they stand for their density."""

    names: tuple[str, ...]
    logarithms: Float[np.ndarray, "chains draws names"]
    acceptance: float
    divergences: int
    r_hat: float
    """Of the worst logarithm; 1 where the chains agree."""
    effective: float
    """Number of independent draws that are worth as much, of the worst logarithm."""

    def thinned(self, n: int) -> Float[np.ndarray, "n names"]:
        """`n` draws at equal distances in the chains.

        Raises:
            InputError: if there are not so many.
        """
        flat = self.logarithms.reshape(-1, len(self.names))
        if n > len(flat):
            raise InputError(f"{n} members asked for, but {len(flat)} draws made: raise hyper.draws")
        return flat[((np.arange(n) + 0.5) * len(flat) / n).astype(int)]


def nuts(
    log_density: LogDensity,
    names: tuple[str, ...],
    centre: Float[np.ndarray, " names"],
    root: Float[np.ndarray, "names names"],
    draws: int,
    seed: int,
    callback: Callable[[int, int], None] | None = None,
) -> Draws:
    """Draw from `log_density`, in `CHAINS` chains of `draws` each, after as many to settle.

    Args:
        log_density: differentiable function of the logarithms, with their prior.
        names: of the logarithms, in the order of the vectors.
        centre: where the density is large.
        root: L with L Lᵀ about its covariance: chains run in z, x = centre + L z, and start at random z.
        draws: of one chain.
        seed: the same seed gives the same draws.
        callback: called as ``callback(done, chains)``.

    Raises:
        InputError: without blackjax, or if the chains do not agree.
    """
    try:
        import blackjax
        from blackjax.diagnostics import effective_sample_size, potential_scale_reduction
    except ImportError as error:
        raise InputError(
            'hyper.method=nuts needs blackjax: pip install "gpjaxpot[mcmc]", or use hyper.method=laplace'
        ) from error
    function, middle, spread = as_vector(log_density, names), jnp.asarray(centre), jnp.asarray(root)

    def density(z):
        value = function(middle + spread @ z)
        return jnp.where(jnp.isfinite(value), value, -jnp.inf)

    @jax.jit
    def chain(key):
        """Settle and run one chain."""
        begin, settle, run = jax.random.split(key, 3)
        adaptation: Any = blackjax.window_adaptation(blackjax.nuts, density, max_num_doublings=DOUBLINGS)
        found, _ = adaptation.run(settle, jax.random.normal(begin, middle.shape), num_steps=draws)
        step: Any = blackjax.nuts(density, **found.parameters).step

        def one(state, key):
            state, info = step(key, state)
            return state, (state.position, info.acceptance_rate, info.is_divergent)

        return jax.lax.scan(one, found.state, jax.random.split(run, draws))[1]

    made = []
    for k, key in enumerate(jax.random.split(jax.random.key(seed), CHAINS)):
        made.append([np.asarray(a) for a in chain(key)])
        if callback is not None:
            callback(k + 1, CHAINS)
    z, acceptance, divergent = (np.stack(column) for column in zip(*made, strict=True))
    r_hat = float(np.max(potential_scale_reduction(jnp.asarray(z))))
    if not r_hat < LARGEST_R_HAT:
        raise InputError(
            f"the {CHAINS} chains of {draws} draws disagree (R-hat {r_hat:.2f}, wanted below {LARGEST_R_HAT}): raise "
            "hyper.draws, or give one of the levels instead of auto"
        )
    effective = float(np.min(effective_sample_size(jnp.asarray(z))))
    logarithms = np.asarray(centre) + z @ np.asarray(root).T
    return Draws(names, logarithms, float(acceptance.mean()), int(divergent.sum()), r_hat, effective)
