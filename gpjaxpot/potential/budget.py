"""Memory and time of a fit, before it; and the choice between exact and sparse that follows."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential import kernel_form
from gpjaxpot.potential.choices import choose_kernel, molecular
from gpjaxpot.potential.crew import ALONE, Crew
from gpjaxpot.potential.effort import Effort
from gpjaxpot.potential.held_out import leaves_out
from gpjaxpot.potential.learned_kernel import SECONDS, searches, spread_sample
from gpjaxpot.potential.refinement_plan import Refining
from gpjaxpot.potential.settings import ModelSettings, Settings
from gpjaxpot.potential.span import SPAN
from gpjaxpot.potential.sparse_cost import SparseCost
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.pairs import find_pairs

# An exact model answers each question with all its data: above this many it predicts too slowly.
MOST_EXACT = 3000
SHARE_OF_FREE_MEMORY = 0.5
# Beyond, predictions are too slow to be worth the last percents; with fewer than these little is learned.
MOST_INDUCING = 4000
LEAST_INDUCING = 50
# Work besides the counted products, as a factor on their time (measured: benchmarks/README.md).
OVERHEAD = 3.0
# Share of the time that a fit has in any case, however long learning its kernel took.
LEAST_LEFT = 0.5
# Seconds to compile, whatever the size; told in estimates, no part of the budget.
COMPILATION = 15.0
SAMPLED = 20
# Seconds that the speed of the machine is measured for.
MEASURED = 0.2
# So many inducing environments are enough for molecules, whose mean a refinement makes.
MOST_OF_MOLECULES = 2000


@dataclass(frozen=True)
class Estimate:
    """What a fit is expected to need, and the method chosen."""

    method: str
    n_inducing: int | None
    """To begin with; a fit of its own choice goes up to `most_inducing`."""
    most_inducing: int | None
    n_observations: int
    n_atoms: int
    memory_bytes: int
    seconds: float
    """With `n_inducing`, to begin with."""
    most_seconds: float
    free_memory_bytes: int
    reason: str
    refine: str = "the model is exact"
    """Why the mean of a sparse model is not to be refined unless asked for; "" if it may be."""
    most_features: int | None = None
    """Components with which a refinement that may follow keeps to its share of the time, or a span to all of it."""
    effort: Effort = Effort()
    """What a refinement has time and memory for."""
    spare_bytes: int = 0
    """What the budget leaves for keeping what could be made again."""

    def rows(self) -> list[tuple[str, str]]:
        """Lines of a table for people."""
        inducing = []
        if self.n_inducing is not None:
            more = "" if self.most_inducing == self.n_inducing else f", up to {self.most_inducing} while it pays"
            inducing = [("inducing environments", f"{self.n_inducing}{more}")]
        longer = f", up to {self.most_seconds:.0f} s" if self.most_seconds > 1.2 * self.seconds else ""
        return [
            ("method", f"{self.method}: {self.reason}"),
            *inducing,
            ("observations", f"{self.n_observations}"),
            ("atoms", f"{self.n_atoms}"),
            ("memory", f"{self.memory_bytes / 1e9:.2f} GB of {self.free_memory_bytes / 1e9:.1f} GB free"),
            ("time", f"about {self.seconds:.0f} s here{longer} (within a factor of two)"),
        ]


def estimate(frames: Sequence[Frame], settings: Settings | None = None) -> Estimate:
    """Estimate a fit of `frames`: a few seconds, no large allocation."""
    settings = Settings() if settings is None else settings
    kernel, _, ranges = choose_kernel(frames, settings)
    use = (settings.train.energies, settings.train.forces, settings.train.stress)
    before = 0.0
    if searches(frames, settings):
        before = SECONDS * (1 + settings.train.restarts) * bool(ranges)
        if len(spread_sample(frames, kernel_form.ATOMS)) >= kernel_form.STRUCTURES:
            before += kernel_form.SECONDS_OF_USUAL * bool(ranges)
            before += kernel_form.SECONDS * any(kernel_form.open_questions(settings))
    count = count_labels(frames, use)
    return plan(frames, kernel, settings.model, count, before, leaves_out=leaves_out(settings))


def count_labels(frames: Sequence[Frame], use: tuple[bool, bool, bool]) -> int:
    """Return the number of observations that the labels of `frames` make."""
    total = 0
    for frame in frames:
        labels = frame.labels
        total += int(use[0] and labels.energy is not None)
        if use[1] and labels.forces is not None and not frame.isolated:
            total += 3 * len(frame.structure)
        total += 6 * int(use[2] and labels.stress is not None)
    return total


def plan(
    frames: Sequence[Frame],
    kernel: EnergyKernel,
    model: ModelSettings,
    n: int,
    before: float = 0.0,
    crew: Crew = ALONE,
    leaves_out: bool = True,
) -> Estimate:
    """Choose exact or sparse, and the number of inducing environments, within the budgets.

    `before` are seconds that pass before, in which the kernel is learned; the fit has what they leave of its time, and
    half of that in any case.  Time is that of one device of `crew`; of several processes the slowest decides, and the
    one with least memory.  Whether it `leaves_out` structures to choose by them takes time and memory, too.

    Raises:
        InputError: for inducing vectors that are to span what no budget allows, or a kernel that is no polynomial.
    """
    free = int(crew.least(float(free_memory())))
    budget = SHARE_OF_FREE_MEMORY * free if model.memory == "auto" else 1e9 * float(model.memory)
    speed, before = crew.least(_flops_per_second()), -crew.least(-before)
    cost = SparseCost(frames, kernel, model, n, _mean_neighbours(frames, kernel.reach), len(crew.places), leaves_out)
    plans = _Plans(frames, kernel, model, cost, n, free, budget, speed, before, crew.processes)
    if model.method == "exact":
        return plans.exact("asked for")
    if model.selection == SPAN:
        return plans.span()
    memory, seconds = plans.of_exact
    if model.method == "auto" and model.n_inducing == "auto" and not plans.why_not_exact():
        return plans.exact(
            f"{n} observations (at most {MOST_EXACT}), {memory / 1e9:.2f} GB and {seconds:.0f} s fit the budget"
        )
    return plans.sparse()


@dataclass(frozen=True)
class _Plans:
    """A fit by each method, within the budgets."""

    frames: Sequence[Frame]
    kernel: EnergyKernel
    model: ModelSettings
    cost: SparseCost
    n: int
    free: int
    memory: float
    """Bytes that the fit may take."""
    speed: float
    before: float
    """Seconds in which the kernel is learned."""
    processes: int
    """That fit together; each refines by itself."""

    @property
    def extra(self) -> float:
        """Seconds that no method spares."""
        return COMPILATION + self.before

    @property
    def time(self) -> float:
        """Seconds that are left, once there is a kernel."""
        return max(self.model.time - self.before, LEAST_LEFT * self.model.time)

    @cached_property
    def of_exact(self) -> tuple[float, float]:
        """Memory and seconds of the exact posterior."""
        features = sum(t.descriptor.n_features for t in self.kernel.terms)
        return _exact_cost(self.frames, features, self.n, self.speed)

    @cached_property
    def refining(self) -> Refining:
        """The refinement of a sparse posterior's mean."""
        molecules = molecular(self.frames)
        return Refining(
            self.kernel, self.model, self.cost, molecules, self.memory, self.time, self.speed, self.processes
        )

    def of_sparse(self, m: int) -> tuple[float, float]:
        """Memory and seconds with `m` inducing environments."""
        memory, flops = self.cost.sparse(m)
        return memory, OVERHEAD * flops / self.speed

    def exact(self, reason: str) -> Estimate:
        """The exact posterior."""
        memory, seconds = self.of_exact
        seconds += self.extra
        return Estimate("exact", None, None, self.n, self.cost.atoms, int(memory), seconds, seconds, self.free, reason)

    def why_not_exact(self) -> str:
        """Which budget the exact posterior would break; "" if none."""
        memory, seconds = self.of_exact
        if memory > self.memory:
            return f"exact would need {memory / 1e9:.1f} GB, more than the budget of {self.memory / 1e9:.1f} GB"
        if seconds > self.time:
            return f"exact would need about {seconds:.0f} s, more than the {self.time:.0f} s that are left for it"
        if self.n > MOST_EXACT:
            return f"{self.n} observations are more than the {MOST_EXACT} with which an exact model still predicts fast"
        return ""

    def span(self) -> Estimate:
        """Inducing vectors that span all functions."""
        size, most, memory, flops = self.cost.span(self.memory, self.time * self.speed / OVERHEAD)
        seconds = OVERHEAD * flops / self.speed + self.extra
        asked = self.model.method == "sparse"
        return Estimate(
            "sparse", size, size, self.n, self.cost.atoms, int(memory), seconds, seconds, self.free,
            "asked for" if asked else "model.selection=span: exact for any amount of data",
            "its mean is the exact one", most, Effort(), max(0, int(self.memory - memory)),
        )  # fmt: skip

    def sparse(self) -> Estimate:
        """The sparse posterior, and its refinement where there is room for it."""
        model, cost = self.model, self.cost
        reason = "asked for" if model.method == "sparse" else self.why_not_exact()
        if model.method == "auto" and model.n_inducing != "auto":
            reason = "n_inducing was given"
        first, most = self._inducing()
        memory, seconds = self.of_sparse(most)[0], self.of_sparse(first)[1]
        longest = seconds if most == first else 2.0 * self.of_sparse(most)[1]
        refine = self.refining.plan(most)
        needed = memory
        if model.refine is True or not refine.why_not:
            needed, longest = max(needed, refine.memory + refine.effort.room), longest + refine.seconds
        # Of a size that is given every batch is asked for once: nothing need be kept.
        again = model.n_inducing == "auto" or model.refine is not False
        kept_free = max(memory, refine.memory - refine.shared if not refine.why_not else 0.0)
        spare = max(0, int(self.memory - kept_free)) if again else 0
        needed = max(needed, memory + min(spare, cost.staged()))
        return Estimate(
            "sparse", first, most, self.n, cost.atoms, int(needed), seconds + self.extra, longest + self.extra,
            self.free, reason, refine.why_not, refine.most_features, refine.effort, spare,
        )  # fmt: skip

    def _inducing(self) -> tuple[int, int]:
        """Inducing environments to begin with, and the most that they may grow to."""
        atoms, model = self.cost.atoms, self.model
        if model.n_inducing != "auto":
            given = min(int(model.n_inducing), atoms)
            return given, given
        refining = self.refining
        growth = self.time * (refining.growth_share if refining.wanted else 1.0)
        first = min(_default_inducing(atoms), atoms)
        while first > LEAST_INDUCING and (self.of_sparse(first)[0] > self.memory or self.of_sparse(first)[1] > growth):
            first = int(0.8 * first)
        # All that was assembled on the way there took as long as half and a quarter of it, and so on.
        most = min(MOST_INDUCING, max(first, atoms // 2))
        if refining.wanted and refining.molecules:
            most = min(most, max(first, MOST_OF_MOLECULES))
        while most > first and (self.of_sparse(most)[0] > self.memory or 2.0 * self.of_sparse(most)[1] > growth):
            most = max(first, int(0.8 * most))
        return first, most


def free_memory() -> int:
    """Memory in bytes that can be had without swapping."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: all pages that are free
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _default_inducing(atoms: int) -> int:
    return int(np.clip(atoms / 12, min(atoms, 300), 1000))


def _exact_cost(
    frames: Sequence[Frame], features: int, n: int, speed: float
) -> tuple[float, float]:
    sizes = np.array([len(f.structure) for f in frames], dtype=float)
    directions = 3.0 * np.sum(sizes**2) * features
    products = 3.0 * features * np.sum(sizes) * np.sum(3.0 * sizes**2)
    flops = 2.0 * products + n**3 / 3.0
    return 8.0 * (3.0 * n**2 + 1.2 * directions), OVERHEAD * flops / speed


def _mean_neighbours(frames: Sequence[Frame], reach: float) -> float:
    step = max(1, len(frames) // SAMPLED)
    some = [f.structure for f in frames[::step]]
    pairs = sum(len(find_pairs(s, reach).centres) for s in some)
    return max(1.0, pairs / sum(len(s) for s in some))


def _flops_per_second() -> float:
    """Speed of a matrix product of the size that a fit makes, measured once a minute at the most."""
    return _measured(int(time.monotonic() / 60.0))


@lru_cache(maxsize=1)
def _measured(_: int) -> float:
    """Speed of matrix products over a while: on cores that are shared a moment tells nothing."""
    a, b = np.ones((1000, 400)), np.ones((400, 500))
    np.matmul(a, b)
    count, start = 0, time.perf_counter()
    while time.perf_counter() < start + MEASURED:
        np.matmul(a, b)
        count += 1
    return count * 2.0 * a.shape[0] * a.shape[1] * b.shape[1] / (time.perf_counter() - start)
