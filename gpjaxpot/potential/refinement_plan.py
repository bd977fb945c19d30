"""How the mean of a sparse posterior could be refined within a budget: by factors, or by iterations."""

from bisect import bisect_left
from dataclasses import dataclass, replace

import numpy as np

from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.effort import Effort
from gpjaxpot.potential.settings import QUICK, ModelSettings
from gpjaxpot.potential.sparse_cost import PRODUCTS, SparseCost

# Time over that of the counted products (measured: benchmarks/README.md).
OVERHEAD = 1.5
# Share of the time in which inducing environments grow where a refinement may follow.  For molecules it does follow,
# nearly always: theirs is smaller.
GROWTH_SHARE = 0.6
MOLECULES_SHARE = 0.3
# By iterations it wants time for so many products; for more, components may fall to this share of what they would be.
LEAST_PRODUCTS = 40
LEAST_FEATURES = 0.4
# By factors of the covariance of all data it wants time for so many and takes so many at the most; of molecules also of
# the data of a part of the structures, of this share at the least.
LEAST_FACTORS, MOST_FACTORS = 4, 6
LEAST_REFINED = 0.3
# Where the covariance of molecules is made for one factor alone, noise is chosen with this share of their structures:
# four factors of their covariance take a quarter of the work of that one.
JUDGED = 0.4


@dataclass(frozen=True)
class RefinementPlan:
    """What a refinement would need."""

    memory: float
    shared: float
    """Bytes of it that take over what the sparse fit kept."""
    seconds: float
    why_not: str
    """Why there is to be none unless it is asked for; "" if there may be one."""
    most_features: int | None
    """Components with which it keeps to its share of the time."""
    effort: Effort


@dataclass(frozen=True)
class Refining:
    """The refinement that a budget allows."""

    kernel: EnergyKernel
    model: ModelSettings
    cost: SparseCost
    molecules: bool
    memory: float
    """Bytes that the fit may take."""
    seconds: float
    """That are left for it, growth and refinement."""
    speed: float
    processes: int
    """That fit together; each refines by itself."""

    @property
    def wanted(self) -> bool:
        """Whether a refinement is wanted, or left to the fit that has time for it."""
        return self.model.refine is True or (self.model.refine == "auto" and self.model.time >= QUICK)

    @property
    def growth_share(self) -> float:
        """Of the time, that inducing environments may grow in."""
        return MOLECULES_SHARE if self.molecules else GROWTH_SHARE

    def plan(self, m: int) -> RefinementPlan:
        """That of a model with `m` inducing environments: by factors where that is possible."""
        found, why_not = self._by_factors(m), ""
        if self.model.solver == "iterations" or (found.why_not and self.model.solver == "auto"):
            reason = found.why_not or "asked for"
            found = self._by_iterations(m)
            found = replace(found, effort=replace(found.effort, reason=reason))
        model = self.model
        if model.refine is False:
            why_not = "not asked for"
        elif not self.wanted:
            why_not = f"it takes minutes, and a fit may take {model.time:.0f} s"
        elif not all(t.kernel.cosine for t in self.kernel.terms):
            why_not = "the kernel is no function of p·q"
        return replace(found, why_not=why_not or found.why_not)

    @property
    def time(self) -> float:
        """Seconds that are left for the refinement."""
        return (1.0 - self.growth_share) * self.seconds

    @property
    def _bounded(self) -> bool:
        """Whether components may be fewer for the sake of the refinement."""
        auto = self.model.features == self.model.most_features == "auto"
        return self.wanted and self.molecules and self.cost.projects and auto

    def _by_factors(self, m: int) -> RefinementPlan:
        """Of all structures, or of as many as the budget allows."""
        cost, model, all_, time = self.cost, self.model, len(self.cost.sizes), self.time

        def needs(structures: int, kept: bool) -> tuple[float, float, float, float]:
            """Memory, that for each component, and seconds beside and of each factor."""
            held, per_feature, filling, each = cost.factor(m, structures, kept)
            beside = filling
            if not kept:
                of_part, _, filling, of_each = cost.factor(m, _judged(structures))
                held, beside = max(held, of_part), beside + filling + LEAST_FACTORS * of_each
            return held, per_feature, beside / self.speed, each / self.speed

        def fits(structures: int, kept: bool) -> bool:
            held, _, beside, each = needs(structures, kept)
            # Processes may share the memory of one machine.
            return self.processes * held <= self.memory and beside + (LEAST_FACTORS if kept else 1) * each <= time

        auto = model.most_refined == "auto"
        structures, least = (all_, LEAST_REFINED * all_) if auto else (min(int(model.most_refined), all_), 1)
        held, per_feature, beside, each = needs(structures, True)
        why_not = f"the covariance of all {cost.n} observations would take {held / 1e9:.1f} GB and {beside:.0f} s"
        kept = fits(structures, True) or not self.molecules
        if not kept and auto:
            structures = bisect_left(range(1, all_ + 1), True, key=lambda n: not fits(n, False))
        if structures >= max(least, 1) and fits(structures, kept):
            held, per_feature, beside, each = needs(structures, kept)
            why_not = ""
        elif not auto:
            kept = True  # asked for, whatever it takes
        factors = int(np.clip((time - beside) / each, LEAST_FACTORS, MOST_FACTORS)) if kept else 1
        reason = f"{held / 1e9:.1f} GB and {beside + factors * each:.0f} s at the most fit the budget"
        most_features = None
        if self._bounded and not why_not and structures < all_:
            # More structures rather than more components: aspirin's forces are a twelfth better with 451 and 480 than
            # with 338 and 1026 in the same memory.
            most_features = cost.features
        elif self._bounded and not why_not:
            by_time = cost.features * (time - LEAST_FACTORS * each) / beside if kept else cost.features
            most_features = int(min(by_time, cost.features + (self.memory - held) / per_feature))
        some = None if structures == all_ else structures
        judged = None if kept else _judged(structures)
        effort = Effort(LEAST_FACTORS if judged else factors, some, judged, reason="asked for" if why_not else reason)
        return RefinementPlan(held, 0.0, beside + factors * each, why_not, most_features, effort)

    def _by_iterations(self, m: int) -> RefinementPlan:
        cost = self.cost
        room = max(0.0, min(self.memory - cost.refinement(m, 0.0)[0], cost.vector_products()))
        held, shared, flops = cost.refinement(m, room / cost.vector_products())
        seconds = OVERHEAD * flops / self.speed
        # The work grows in proportion to the components; of half of what they should be no good mean is made.
        share, features = self.time / seconds, cost.features
        most_features = int(share * features) if self._bounded and share > LEAST_FEATURES else None
        if most_features is not None and share < 1.0:
            held, seconds, features = share * held, share * seconds, most_features
        products, why_not = int(PRODUCTS * self.time / seconds), ""
        if held > self.memory:
            why_not = f"it would need {held / 1e9:.1f} GB, more than the budget of {self.memory / 1e9:.1f} GB"
        elif products < LEAST_PRODUCTS:
            least = seconds * LEAST_PRODUCTS / PRODUCTS
            why_not = f"it would need about {least:.0f} s, more than the {self.time:.0f} s that are left for it"
        effort = Effort(0, products=products, components=features, room=room)
        return RefinementPlan(held, shared, seconds, why_not, most_features, effort)


def _judged(structures: int) -> int:
    """Of so many structures, those with which noise is chosen."""
    return max(1, round(JUDGED * structures))
