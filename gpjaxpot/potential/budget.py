"""Memory and time of a fit, before it; and the choice between exact and sparse that follows."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpjaxpot.errors import InputError
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential import kernel_form
from gpjaxpot.potential.choices import choose_kernel, molecular
from gpjaxpot.potential.crew import ALONE, Crew
from gpjaxpot.potential.held_out import BYTES_AT_ONCE, checked_size, left_out_count, padded_rows, searched_size
from gpjaxpot.potential.learned_kernel import SECONDS, searches
from gpjaxpot.potential.settings import QUICK, ModelSettings, Settings
from gpjaxpot.potential.span import SPAN, check_spannable, span_size
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.pairs import find_pairs
from gpjaxpot.structures.splits import spread_order

# An exact model answers each question with all its data: above this many it predicts too slowly.
MOST_EXACT = 3000
SHARE_OF_FREE_MEMORY = 0.5
# Beyond, predictions are too slow to be worth the last percents.
MOST_INDUCING = 4000
# Work besides the counted products, as a factor on their time (measured: benchmarks/README.md).
OVERHEAD = 3.0
# Seconds to compile, whatever the size; told in estimates, no part of the budget.
COMPILATION = 15.0
SAMPLED = 20
# What libraries and compiled programs take (measured: 0.25 GB to begin with, 0.4 GB after a fit's programs).
PROGRAM_BYTES = 4e8
# Copies of the rows of structures left out that the gradient of their score holds (measured).
SCORE_COPIES = 11.0
# And those that leaving some of them out at once holds, whitened.
LEFT_OUT_COPIES = 4.0
# Work of leaving structures out, over the rows of these times M²; it is counted products nearly alone (measured).
LEFT_OUT_WORK = 2.0
# Setting right the ratios of levels, over leaving the same structures out: some eight times, but whitened once.
CHECKS = 2.5
# What each further device has waiting to be folded, or folds, over M²: energies and forces.
FACTORS = 8.0
# Slots for neighbours and places for atoms in batches, over neighbours and atoms (measured).
STAGE_PADDING = 1.6
# Share of the components of SOAP vectors that `features = "auto"` keeps, about (0.3 to 0.5 on the public sets).
KEPT = 0.4
# Products with the covariance of all data that a refinement takes, about, and its work besides what is counted.
PRODUCTS = 110.0
REFINEMENT_OVERHEAD = 1.5
# Share of the time in which inducing environments grow where a refinement may follow.  For molecules it does follow,
# nearly always: theirs is smaller, and so many inducing environments are enough.
GROWTH_SHARE = 0.6
MOLECULES_SHARE = 0.3
MOST_REFINED = 2000
# A refinement may take this share of the time; for that, components may fall to this share of what they would be.
REFINEMENT_SHARE = 0.7
LEAST_FEATURES = 0.4


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
    products: int = 0
    """Products with the covariance of all data that a refinement has time for."""
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
        before = SECONDS * bool(ranges) + kernel_form.SECONDS * any(kernel_form.open_questions(settings))
    return plan(frames, kernel, settings.model, count_labels(frames, use), before)


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
) -> Estimate:
    """Choose exact or sparse, and the number of inducing environments, within the budgets.

    `before` are seconds that pass before, in which the kernel is learned.  Time is that of one device of `crew`; of
    several processes the slowest decides, and the one with least memory.

    Raises:
        InputError: for inducing vectors that are to span what no budget allows, or a kernel that is no polynomial.
    """
    extra = COMPILATION + before
    atoms = sum(len(f.structure) for f in frames)
    free = int(crew.least(float(free_memory())))
    budget = SHARE_OF_FREE_MEMORY * free if model.memory == "auto" else 1e9 * float(model.memory)
    speed = crew.least(_flops_per_second())
    neighbours = _mean_neighbours(frames, kernel.reach)
    features = sum(t.descriptor.n_features for t in kernel.terms)
    work = _Work(frames, kernel, model, n, neighbours, len(crew.places))
    exact = _exact_cost(frames, features, n, speed)
    wanted = _default_inducing(atoms) if model.n_inducing == "auto" else int(model.n_inducing)
    wanted = min(wanted, atoms)

    def sparse(m: int) -> tuple[float, float]:
        memory, flops = work.sparse(m)
        return memory, OVERHEAD * flops / speed

    if model.method == "exact":
        seconds = exact[1] + extra
        return Estimate("exact", None, None, n, atoms, int(exact[0]), seconds, seconds, free, "asked for")
    if model.selection == SPAN:
        wanted, most, memory, seconds = work.span(budget, model.time * speed / OVERHEAD)
        seconds = OVERHEAD * seconds / speed + extra
        reason = "asked for" if model.method == "sparse" else "model.selection=span: exact for any amount of data"
        return Estimate(
            "sparse", wanted, wanted, n, atoms, int(memory), seconds, seconds, free, reason,
            "its mean is the exact one", most, 0, max(0, int(budget - memory)),
        )  # fmt: skip
    fits = exact[0] <= budget and exact[1] <= model.time and n <= MOST_EXACT
    if model.method == "auto" and model.n_inducing == "auto" and fits:
        reason = (
            f"{n} observations (at most {MOST_EXACT}), {exact[0] / 1e9:.2f} GB and {exact[1]:.0f} s fit the budget"
        )
        seconds = exact[1] + extra
        return Estimate("exact", None, None, n, atoms, int(exact[0]), seconds, seconds, free, reason)
    reason = "asked for" if model.method == "sparse" else _why_sparse(exact, budget, model.time, n)
    if model.method == "auto" and model.n_inducing != "auto":
        reason = "n_inducing was given"
    may_refine = model.refine is True or (model.refine == "auto" and model.time >= QUICK)
    growth = model.time * (1.0 if not may_refine else MOLECULES_SHARE if molecular(frames) else GROWTH_SHARE)
    if model.n_inducing == "auto":
        while wanted > 50 and (sparse(wanted)[0] > budget or sparse(wanted)[1] > growth):
            wanted = int(0.8 * wanted)
    most = wanted
    if model.n_inducing == "auto":
        # All that was assembled on the way there took as long as half and a quarter of it, and so on.
        most = min(MOST_INDUCING, max(wanted, atoms // 2))
        if may_refine and molecular(frames):
            most = min(most, max(wanted, MOST_REFINED))
        while most > wanted and (sparse(most)[0] > budget or 2.0 * sparse(most)[1] > growth):
            most = max(wanted, int(0.8 * most))
    seconds = sparse(wanted)[1]
    longest = seconds if most == wanted else 2.0 * sparse(most)[1]
    memory = int(sparse(most)[0])
    held, shared, flops = work.refinement(most)
    refining = REFINEMENT_OVERHEAD * flops / speed
    # The work grows in proportion to the components; of half of what they should be no good mean is made.
    share = REFINEMENT_SHARE * model.time / refining
    bounded = may_refine and molecular(frames) and work.projects and model.features == model.most_features == "auto"
    most_features = int(share * work.features) if bounded and share > LEAST_FEATURES else None
    if most_features is not None and share < 1.0:
        held, refining = share * held, share * refining
    products = int(PRODUCTS * REFINEMENT_SHARE * model.time / refining)
    refine = ""
    if model.refine is False:
        refine = "not asked for"
    elif not may_refine:
        refine = f"it takes minutes, and a fit may take {model.time:.0f} s"
    elif held > budget:
        refine = f"it would need {held / 1e9:.1f} GB, more than the budget of {budget / 1e9:.1f} GB"
    elif refining > model.time:
        refine = f"it would need about {refining:.0f} s, more than the budget of {model.time:.0f} s"
    elif not all(t.kernel.cosine for t in kernel.terms):
        refine = "the kernel is no function of p·q"
    if model.refine is True or not refine:
        memory, longest = max(memory, int(held)), longest + refining
    # Of a size that is given every batch is asked for once: nothing need be kept.
    again = model.n_inducing == "auto" or model.refine is not False
    spare = max(0, int(budget - max(sparse(most)[0], held - shared if not refine else 0.0))) if again else 0
    memory = max(memory, int(sparse(most)[0] + min(spare, work.staged())))
    seconds, longest = seconds + extra, longest + extra
    return Estimate(
        "sparse", wanted, most, n, atoms, memory, seconds, longest, free, reason, refine, most_features, products, spare
    )


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


def _why_sparse(exact: tuple[float, float], budget: float, seconds: float, n: int) -> str:
    if exact[0] > budget:
        return f"exact would need {exact[0] / 1e9:.1f} GB, more than the budget of {budget / 1e9:.1f} GB"
    if exact[1] > seconds:
        return f"exact would need about {exact[1]:.0f} s, more than the budget of {seconds:.0f} s"
    return f"{n} observations are more than the {MOST_EXACT} with which an exact model still predicts fast"


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


def over_budget(components: int, size: int, most: int) -> InputError:
    """What to say of vectors of more than the `most` components whose functions can be spanned."""
    instead = f"set model.features={most}, or fewer" if most else "take another selection, such as leverage"
    return InputError(
        f"model.selection=span with {components} components takes {size} inducing vectors, more than the budget of "
        f"memory and time allows: {instead}, or raise model.memory and model.time"
    )


class _Work:
    """Memory in bytes and multiplications and additions of a sparse fit and of its refinement."""

    def __init__(
        self,
        frames: Sequence[Frame],
        kernel: EnergyKernel,
        model: ModelSettings,
        n: int,
        neighbours: float,
        devices: int,
    ):
        self.n, self.neighbours, self.devices = n, neighbours, devices
        self.atoms = sum(len(f.structure) for f in frames)
        each = n / len(frames)
        self.held = min(len(frames), left_out_count(each, model.time))
        sizes = np.array([len(frames[i].structure) for i in spread_order(len(frames))[: self.held]])
        self.padded = padded_rows(np.ceil(n / self.atoms * sizes).astype(np.int64))
        self.held_rows = self.held * each
        self.spectrum = sum(t.descriptor.n_spectrum for t in kernel.terms)
        self.features = sum(t.descriptor.n_features for t in kernel.terms)
        if model.features == "auto" and self.features == self.spectrum:
            self.features = round(KEPT * self.spectrum)
            if model.most_features != "auto":
                self.features = min(self.features, model.most_features)
        elif isinstance(model.features, int):
            self.features = sum(min(model.features, t.descriptor.n_spectrum) for t in kernel.terms)
        kinds = np.concatenate([f.structure.numbers for f in frames])
        shares = np.unique(kinds, return_counts=True)[1] / len(kinds)
        # Pairs of environments that see each other: those of one species, unless species are coupled.
        self.alike = 1.0 if kernel.similarity is not None else float(np.sum(shares**2))
        self.projects = self.features < self.spectrum
        self.kernel, self.model = kernel, model

    def span(self, memory: float, flops: float) -> tuple[int, int, float, float]:
        """Inducing vectors that span all functions, the most components with which they would keep to a budget of
        memory and of work, and their own.

        Raises:
            InputError: for vectors that are given to be longer.
        """  # fmt: skip
        kernel, model = self.kernel, self.model
        check_spannable(t.kernel for t in kernel.terms)
        longest = max(t.descriptor.n_features for t in kernel.terms)
        whole = all(t.descriptor.projection is None for t in kernel.terms)

        def cost(d: int) -> tuple[float, float]:
            return self.sparse(span_size(kernel, d), sum(min(d, t.descriptor.n_features) for t in kernel.terms))

        most = longest
        while most > 0 and not (cost(most)[0] <= memory and cost(most)[1] <= flops):
            most -= 1
        kept = longest
        if whole and model.features == "auto":
            bound = longest if model.most_features == "auto" else model.most_features
            kept = min(max(1, round(KEPT * longest)), bound, max(1, most))
        elif whole and isinstance(model.features, int):
            kept = min(model.features, longest)
        if kept > most and model.n_inducing == "auto":
            raise over_budget(kept, span_size(kernel, kept), most)
        return span_size(kernel, kept), most, *cost(kept)

    def sparse(self, m: int, features: int | None = None) -> tuple[float, float]:
        """With `m` inducing environments, and as many components as are expected, or `features`."""
        features = self.features if features is None else features
        jacobian = 3.0 * self.neighbours  # derivatives of one feature, numbers per atom
        each = features * (self.alike * m + self.spectrum * (features < self.spectrum))
        checked = float(np.sum(self.padded[: checked_size(self.padded, m)]))
        fold = (3.0 * self.n + LEFT_OUT_WORK * (float(np.sum(self.padded)) + CHECKS * checked)) * m**2
        flops = 2.0 * self.atoms * jacobian * each + fold + 10.0 * m**3
        batch = 128.0 * (3.0 * jacobian * self.spectrum + 9.0 * self.neighbours * min(m, 512) + 6.0 * m)
        vectors = min(self.atoms, 20000) * features
        rows = self.held_rows * m  # covariances of what is left out
        searched, some = searched_size(self.padded, m)
        at_once = LEFT_OUT_COPIES * min(BYTES_AT_ONCE / 8.0, rows)
        score = max(SCORE_COPIES * float(np.sum(self.padded[:searched])) * some, at_once)
        rows += checked * m
        more = (self.devices - 1) * (2.0 * batch + FACTORS * m**2)
        return 8.0 * (max(2.0 * batch, score) + rows + 12.0 * m**2 + vectors + more) + PROGRAM_BYTES, flops

    def staged(self) -> float:
        """Memory of the derivatives of all batches, which are kept where there is room."""
        return 8.0 * STAGE_PADDING * 3.0 * self.atoms * self.neighbours * self.features

    def refinement(self, m: int) -> tuple[float, float, float]:
        """After a sparse fit with `m` inducing environments; second, the memory that takes over what that fit kept."""
        pairs = 3.0 * self.atoms * self.neighbours * self.features
        product = 8.0 * self.features * self.alike * self.atoms**2 + 4.0 * pairs + 4.0 * self.n * m
        memory = 8.0 * (1.2 * pairs + self.n * m + 6.0 * self.atoms * self.features + 8.0 * m**2) + 3e8
        return memory, 8.0 * pairs, PRODUCTS * product


def _mean_neighbours(frames: Sequence[Frame], reach: float) -> float:
    step = max(1, len(frames) // SAMPLED)
    some = [f.structure for f in frames[::step]]
    pairs = sum(len(find_pairs(s, reach).centres) for s in some)
    return max(1.0, pairs / sum(len(s) for s in some))


def _flops_per_second() -> float:
    """Speed of a matrix product of the size that a fit makes."""
    a, b = np.ones((1000, 400)), np.ones((400, 500))
    np.matmul(a, b)
    start = time.perf_counter()
    for _ in range(3):
        np.matmul(a, b)
    return 3 * 2.0 * a.shape[0] * a.shape[1] * b.shape[1] / (time.perf_counter() - start)
