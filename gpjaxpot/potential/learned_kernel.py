"""The kernel of a fit: its descriptors' settings as given, as usual, or learned from the data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from gpjaxpot.gp.maximise import Range, maximise
from gpjaxpot.gp.noise import Noise
from gpjaxpot.kernels import EnergyKernel
from gpjaxpot.potential.choices import Choice, choose_kernel, molecular
from gpjaxpot.potential.search import draw, sample_evidence, with_values
from gpjaxpot.potential.settings import QUICK, Settings
from gpjaxpot.potential.training import collect
from gpjaxpot.structures.batch import neighbourhood
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.reference import fit_reference, with_cohesion
from gpjaxpot.structures.splits import spread_order

Callback = Callable[[str, int, int], None]
# Evaluations of the evidence with its gradient.
STEPS = 20
# The sample has as many atoms as make its evaluation about this many multiplications, between these numbers.  One
# large sample: three of 256 atoms each chose too short a cutoff for silicon, few data asking for little.
WORK = 1.5e10
ATOMS = (200, 600)
# With fewer force components the usual values are better than what could be learned.
LEAST_FORCES = 600
# Seconds that a search takes, about.
SECONDS = 90.0
# Noise of energies while descriptors are compared, eV √N: a level set free would give energies up for forces.
ENERGY_NOISE = 0.004


@dataclass(frozen=True)
class Searched:
    """What a search of descriptors' values started from, and how much it saw."""

    usual: EnergyKernel
    choices: list[Choice]
    """The usual values of what was learned."""
    atoms: int


def learn_kernel(
    frames: Sequence[Frame], settings: Settings, callback: Callback
) -> tuple[EnergyKernel, list[Choice], Searched | None]:
    """Choose the kernel, and learn what is left to choose of its descriptors, if [train] search allows.

    Returns also what the search started from; None where there was none.
    """
    usual, choices, ranges = choose_kernel(frames, settings)
    if not (ranges and searches(frames, settings)):
        return usual, choices, None
    values, atoms = search(usual, frames, ranges, callback, settings.train.restarts, settings.train.seed)
    kernel = with_values(usual, {name: jnp.asarray(v) for name, v in values.items()})
    learned = {f"descriptor.{name}": value for name, value in values.items()}
    made = [
        Choice(c.key, learned[c.key], _why(ranges[c.key.removeprefix("descriptor.")], learned[c.key], atoms, c.reason))
        if c.key in learned
        else c
        for c in choices
    ]
    return kernel, made, Searched(usual, [c for c in choices if c.key in learned], atoms)


def searches(frames: Sequence[Frame], settings: Settings) -> bool:
    """Whether a fit of `frames` learns what is "auto" of its descriptors: it is allowed, and has data and time to.

    For molecules usual values stay: their sparse models ask for a smooth density, σ near 0.5 Å, with which the exact
    mean that follows predicts aspirin a fifth worse.
    """
    forces = sum(f.labels.forces.size for f in frames if f.labels.forces is not None and not f.isolated)
    enough = forces >= LEAST_FORCES and settings.model.time >= QUICK
    return settings.train.search and settings.train.forces and enough and not molecular(frames)


def search(
    kernel: EnergyKernel,
    frames: Sequence[Frame],
    ranges: dict[str, Range],
    callback: Callback,
    restarts: int = 0,
    seed: int = 0,
) -> tuple[dict[str, float], int]:
    """Values of the hyperparameters in `ranges` of the highest evidence on a sample, and its number of atoms.

    The signal variance and the noise of forces are found beside them; for `restarts` see `maximise`.
    """
    reach = max(kernel.reach, *(r.high for name, r in ranges.items() if name.endswith("cutoff")), 0.0)
    some = spread_sample(frames, 4 * ATOMS[1])  # of large sets neighbours of all would take long
    data = collect(some, with_cohesion(fit_reference(frames), frames), Noise(None, None, None), (True, True, False))
    found = [neighbourhood(f.structure, kernel.species, reach) for f in some]
    neighbours = sum(len(f.pairs.centres) for f in found) / max(1, sum(len(f.structure) for f in found))
    features = sum(t.descriptor.n_features for t in kernel.terms)
    atoms = int(np.clip(np.sqrt(WORK / (3.0 * max(neighbours, 1.0) * features)), *ATOMS))
    sample = draw(kernel, found, data, atoms)
    factor = np.asarray(sample.forces_factor)
    spread = float(np.sqrt(np.mean(np.asarray(sample.forces)[factor > 0] ** 2)))
    levels = {
        "variance": Range(1.0, 1e-4, 1e6, 4.0),
        "forces": Range(0.1 * spread, 1e-3 * spread, spread, 2.0),
    }

    def objective(x):
        """Evidence at logarithms of hyperparameters and levels."""
        values = {name: jnp.exp(v) for name, v in x.items()}
        noise = {"energy": jnp.asarray(ENERGY_NOISE), "forces": values["forces"], "variance": values["variance"]}
        own = {name: values[name] for name in ranges}
        return sample_evidence(with_values(kernel, own), sample, noise)

    values, _ = maximise(
        objective,
        levels | ranges,
        STEPS,
        0.5,
        lambda done, total: callback("descriptor", done, total),
        restarts,
        seed,
    )
    return {name: values[name] for name in ranges}, int(np.sum(factor > 0)) // 3


def spread_sample(frames: Sequence[Frame], atoms: int) -> list[Frame]:
    """Structures with about so many atoms, spread evenly over all: a draw may miss a kind.  Isolated atoms are none."""
    bound = [f for f in frames if not f.isolated]
    chosen, total = [], 0
    for i in spread_order(len(bound)):
        if total >= atoms:
            break
        chosen.append(bound[i])
        total += len(bound[i].structure)
    return chosen


def _why(allowed: Range, value: float, atoms: int, usual: str) -> str:
    edge = ""
    if min(value / allowed.low, allowed.high / value) < 1.02:
        edge = ", at its bound"
    unit = "; Å" if usual.endswith("; Å") else ""
    return f"highest evidence on {atoms} atoms, from {allowed.low:g} to {allowed.high:g}{edge}{unit}"
