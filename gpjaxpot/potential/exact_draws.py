r"""Functions drawn from the posterior of a refined mean, by Matheron's rule.

With $f_0$ a draw of the prior and ε one of the noise,

    $f = f_0 + K_{\cdot X} (K + Σ)^{-1} (y - f_0(X) - ε)$

is a draw of the posterior: one solution for each, by what solves for the mean.
Source: Wilson, Borovitskiy, Terenin, Mostowsky & Deisenroth, J. Mach. Learn. Res. 22, 105 (2021).

Draws of the prior have its covariance where its kernels are polynomials of p·q (`prior_draw.py`), and functions drawn
from the posterior then have that of the exact posterior, whatever the inducing environments.  Of other kernels f₀ is
drawn of what the inducing environments span: with R what they leave of the prior covariance, functions then scatter
less than the posterior by

    $[1, -K_{\cdot X} (K + Σ)^{-1}]\, R\, [1, -K_{\cdot X} (K + Σ)^{-1}]^T$,

near data as far from them, and never more.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.draws import Draws
from gpjaxpot.potential.exact_system import Callback, ExactSystem
from gpjaxpot.potential.levels import VARIANCE
from gpjaxpot.potential.prior_draw import drawable, prior_draw


def draw_functions(
    system: ExactSystem,
    levels: dict[str, float],
    values: Float[np.ndarray, " data"],
    count: int,
    tolerance: float,
    most: int,
    seed: int,
    callback: Callback,
) -> tuple[Draws, str]:
    """Draw functions from the posterior; also say what they are, and how well they were solved for.

    Args:
        system: all observations.
        levels: variance and noise.
        values: coefficients times σ of the mean, as solved for at these levels.
        count: how many functions.
        tolerance: on the residuals, as the mean's.
        most: iterations of each solution, at the most.
        seed: a function depends on it and on its own number alone.
        callback: progress.
    """
    data, prior, worst = [], [], 0.0
    sigma, kernel = system.sigma(levels), system.covariance.kernel
    exact = drawable(kernel)
    for k in range(count):
        rng = np.random.default_rng([seed, k])

        def tell(_: str, done: int, total: int, k: int = k) -> None:
            callback("draws", k * total + done, count * total)

        function = prior_draw(kernel, rng) if exact else _spanned(system, rng)
        drawn = np.sqrt(levels[VARIANCE]) * system.observe(function)
        right = drawn / sigma + rng.standard_normal(len(sigma))
        # What the draw takes off the mean: from nothing, since the mean is no guess of it.
        solution = system.solve(levels, tolerance, most, tell, right)
        worst = max(worst, solution.residual / np.sqrt(len(sigma)))
        tell("", most, most)
        data.append(system.centres(levels, values - solution.values))
        # The model's kernel is the one of the prior's draw times the variance.
        prior.append(Centres(function.features, function.species, function.values / np.sqrt(levels[VARIANCE])))
    of = "the exact posterior" if exact else "the posterior, as far as the inducing environments reach of the prior"
    return Draws.stack(data, prior), f"of {of}; residuals of {worst:.2g} of the noise at the most"


def _spanned(system: ExactSystem, rng: np.random.Generator) -> Centres:
    """A draw of the part of the prior that the inducing environments span."""
    inducing, whitening = system.assembled.inducing, system.assembled.whitening
    weights = whitening @ rng.standard_normal(whitening.shape[1])
    return Centres(inducing.features, inducing.species, jnp.asarray(weights))
