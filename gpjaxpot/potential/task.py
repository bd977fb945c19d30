"""What a fit is given, and the observations and first levels that follow from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gpjaxpot.gp.noise import OBSERVABLES, Noise
from gpjaxpot.potential.choices import Choice
from gpjaxpot.potential.crew import ALONE, Crew
from gpjaxpot.potential.levels import VARIANCE
from gpjaxpot.potential.noise_shape import Judge, shape_noise
from gpjaxpot.potential.settings import Settings
from gpjaxpot.potential.training import Observations, collect, learnable
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.reference import EnergyReference
from gpjaxpot.structures.structure import Structure

Callback = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Task:
    """What is to be fitted: structures, their energies per species, settings; and whom to tell how it goes."""

    frames: Sequence[Frame]
    reference: EnergyReference
    settings: Settings
    report: Callback
    crew: Crew = ALONE
    """The devices that share the work."""
    before: float = 0.0
    """Seconds that learning the kernel took."""

    @property
    def structures(self) -> list[Structure]:
        """All structures."""
        return [f.structure for f in self.frames]

    def data(self, noise: Noise) -> list[Observations]:
        """All observations, whose σ are factors of levels that are still to be found."""
        train = self.settings.train
        return collect(self.frames, self.reference, noise.opened(), (train.energies, train.forces, train.stress))

    def start(
        self, noise: Noise, data: Sequence[Observations]
    ) -> tuple[dict[str, float], tuple[str, ...]]:
        """Levels as given, or to start from; and which of them are free."""
        return starting_levels(data, noise, self.settings.kernel.variance)

    def shaped(
        self, noise: Noise, data: Sequence[Observations], judge: Judge
    ) -> tuple[Noise, list[Choice]]:
        """The noise with what structures left out, of whom `judge` tells, show of its dependence on the structure."""
        free = learnable(data) & set(self.start(noise, data)[1])
        return shape_noise(self.frames, noise, self.settings.noise, free, self.settings.model.time, judge)


def starting_levels(
    data: Sequence[Observations], noise: Noise, variance: str | float
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Levels as given, or to start from: a tenth of the spread of the labels, per their factor; and which are free."""
    start = {VARIANCE: 1.0 if variance == "auto" else float(variance)}
    free = [VARIANCE] * (variance == "auto")
    for kind, name in enumerate(OBSERVABLES):
        values = [o.targets[(o.kind == kind) & ~o.known] / o.sigma[(o.kind == kind) & ~o.known] for o in data]
        joined = np.concatenate(values)
        given = getattr(noise, name)
        if given is None:
            free.append(name)
            spread = float(np.sqrt(np.mean(joined**2))) if len(joined) else 1.0
            given = max(0.1 * spread, 1e-6)
        start[name] = float(given)
    return start, tuple(free)
