"""A potential of the reference model's shapes that knows nothing: what a prediction costs depends on shapes alone."""

import tomllib
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.inputs import CONFIG, silicon

if TYPE_CHECKING:
    from gpjaxpot import Potential


def random_potential(n_inducing: int, features: int | None = None) -> "Potential":
    """A potential with the config file's descriptor and kernel, and random weights on environments of silicon.

    `features` projects the vectors on as many random directions.
    """
    import jax.numpy as jnp

    from gpjaxpot import SOAP, DotPower, Structure
    from gpjaxpot.gp.noise import Noise
    from gpjaxpot.kernels.energy_kernel import EnergyKernel, Term
    from gpjaxpot.potential.centres import Centres
    from gpjaxpot.potential.potential import Potential
    from gpjaxpot.potential.vectors import environment_vectors
    from gpjaxpot.structures.reference import EnergyReference

    config = tomllib.loads(CONFIG.read_text())
    settings = {key: value for key, value in config["descriptor"][0].items() if key != "type"} | {"species": (14,)}
    if settings.get("radial_scale") == "none":
        settings["radial_scale"] = None
    generator = np.random.default_rng(0)
    soap = SOAP(**settings)
    if features is not None:
        directions = np.linalg.qr(generator.normal(size=(soap.n_features, features)))[0]
        soap = SOAP(**settings, projection=directions[None])
    repeats = int(np.ceil((n_inducing / 8) ** (1 / 3)))
    known = Structure.from_ase(silicon(repeats, displaced=0.2))
    vectors = np.asarray(environment_vectors(soap, [known])[0])[:n_inducing].T
    kernel = EnergyKernel((Term(soap, 1.0 * DotPower(config["kernel"]["zeta"])),))
    weights = generator.normal(size=n_inducing)
    centres = Centres((jnp.asarray(vectors),), jnp.zeros(n_inducing, jnp.int32), jnp.asarray(weights))
    reference = EnergyReference((14,), np.zeros(1), "given")
    return Potential(kernel, None, centres, reference, Noise(None, None, None), {})  # type: ignore[arg-type]
