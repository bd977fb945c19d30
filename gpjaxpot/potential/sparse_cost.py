"""Memory and work of a sparse fit, and of the refinement of its mean, counted before it."""

from collections.abc import Sequence

import numpy as np

from gpjaxpot.covariance.dense import THERE
from gpjaxpot.errors import InputError
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.linalg.tiles import SIDE
from gpjaxpot.potential.held_out import BYTES_AT_ONCE, checked_size, left_out_count, padded_rows, searched_size
from gpjaxpot.potential.settings import ModelSettings
from gpjaxpot.potential.span import check_spannable, span_size
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.splits import spread_order

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
# Time over that of the matrix products of a covariance: for those of observables with each other, for what they
# are made of, which does not stay in the processor, and for a factor (measured).
PRODUCT, SUMS, FACTOR = 1.4, 10.0, 1.3
# Structures that a refinement by a factor is judged by have at the most this share of all observations.
LEFT_OUT_OF_FACTOR = 0.5
# Products with the covariance of all data that a refinement takes, about.
PRODUCTS = 110.0


class SparseCost:
    """Memory in bytes and multiplications and additions of a sparse fit and of its refinement."""

    def __init__(
        self,
        frames: Sequence[Frame],
        kernel: EnergyKernel,
        model: ModelSettings,
        n: int,
        neighbours: float,
        devices: int,
        leaves_out: bool = True,
    ):
        self.n, self.neighbours, self.devices = n, neighbours, devices
        self.atoms = sum(len(f.structure) for f in frames)
        each = n / len(frames)
        self.held = min(len(frames), left_out_count(each, model.time)) if leaves_out else 0
        self.sizes = np.array([len(f.structure) for f in frames])
        sizes = self.sizes[spread_order(len(frames))[: self.held]]
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
        of_each, of_atom = _projection(self.kernel) if features < self.spectrum else (0.0, 0.0)
        each = features * (self.alike * m + of_each)
        checked = float(np.sum(self.padded[: checked_size(self.padded, m)]))
        fold = (3.0 * self.n + LEFT_OUT_WORK * (float(np.sum(self.padded)) + CHECKS * checked)) * m**2
        flops = 2.0 * self.atoms * (jacobian * each + features * of_atom) + fold + 10.0 * m**3
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

    def vector_products(self) -> float:
        """Memory of the products of all environments' vectors that see each other."""
        return 8.0 * len(self.kernel.terms) * self.alike * self.atoms**2

    def refinement(self, m: int, kept: float) -> tuple[float, float, float]:
        """After a sparse fit with `m` inducing environments; second, the memory that takes over what that fit kept.

        `kept` is the share of the products of environments' vectors that are not made again, of memory besides.
        """
        pairs = 3.0 * self.atoms * self.neighbours * self.features
        product = (8.0 - 2.0 * kept) * self.features * self.alike * self.atoms**2 + 4.0 * pairs + 4.0 * self.n * m
        memory = 8.0 * (1.2 * pairs + self.n * m + 6.0 * self.atoms * self.features + 8.0 * m**2) + 3e8
        return memory, 8.0 * pairs, PRODUCTS * product

    def factor(self, m: int, structures: int, kept: bool = True) -> tuple[float, float, float, float]:
        """Of a refinement by factors: memory, memory for each component, work for the covariance and for a factor.

        They are those of the data of so many structures; `m` inducing environments stay beside them.  The covariance is
        `kept` beside a factor, or makes way for it.
        """
        share = structures / len(self.sizes)
        n, atoms = share * self.n, share * self.atoms
        directions = share * float(np.sum(self.sizes**2)) * self.n / self.atoms
        each = 8.0 * (1.2 * 3.0 * atoms * self.neighbours + 6.0 * atoms)
        there = min(8.0 * directions * self.features, 2.0 * THERE)
        matrix = n**2 if kept else n**2 / 2.0 + SIDE * n  # and its last column of tiles once more
        memory = self.features * each + there + 8.0 * (matrix + 8.0 * m**2) + 3e8
        each += there / self.features if there < 2.0 * THERE else 0.0
        products = directions * self.features * (PRODUCT * n + SUMS * self.alike * atoms)
        # The part of the inverse that leaves structures out, after each factor.
        out = min(self.held_rows, LEFT_OUT_OF_FACTOR * n)
        return memory, each, products, FACTOR * (n**3 + 2.0 * out**3) / 3.0


def over_budget(components: int, size: int, most: int) -> InputError:
    """What to say of vectors of more than the `most` components whose functions can be spanned."""
    instead = f"set model.features={most}, or fewer" if most else "take another selection, such as leverage"
    return InputError(
        f"model.selection=span with {components} components takes {size} inducing vectors, more than the budget of "
        f"memory and time allows: {instead}, or raise model.memory and model.time"
    )


def _projection(kernel: EnergyKernel) -> tuple[float, float]:
    """Numbers that each component of a vector is made of: for each derivative, and for each atom besides."""
    of_each, of_atom = 0.0, 0.0
    for term in kernel.terms:
        soap, several = term.descriptor, len(kernel.species) > 1
        orders = (soap.l_max + 1) ** 2
        of_each += soap.n_max * orders if several else soap.n_spectrum
        of_atom += soap.channels**2 * orders if several else 0.0
    return of_each / len(kernel.terms), of_atom / len(kernel.terms)
