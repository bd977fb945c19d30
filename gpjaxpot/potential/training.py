"""The labels of a training set as one vector of observations with noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.errors import InputError
from gpjaxpot.gp.noise import OBSERVABLES, Noise
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.reference import EnergyReference


@dataclass(frozen=True)
class Observations:
    """What was observed of one structure: targets, σ, and their places among [E | F | stress].

    Where `known` is False, σ is only the factor of a level that is still to be learned.
    """

    places: Int[AnyArray, " data"]
    targets: Float[AnyArray, " data"]
    sigma: Float[AnyArray, " data"]
    known: Bool[AnyArray, " data"]
    kind: Int[AnyArray, " data"]
    """Index into `OBSERVABLES`."""

    def __len__(self) -> int:
        """Return the number of observations."""
        return len(self.targets)

    def sigma_at(self, levels: Mapping[str, float]) -> Float[np.ndarray, " data"]:
        """σ of each, all levels being known; 1 for an observable without one."""
        factor = np.array([levels.get(name, 1.0) for name in OBSERVABLES])
        return np.asarray(self.sigma * np.where(self.known, 1.0, factor[self.kind]))


def observations(
    frame: Frame, reference: EnergyReference, noise: Noise, use: tuple[bool, bool, bool]
) -> Observations:
    """Collect the labels of `frame` that are trained on; `use` says which of E, F, stress are.

    The energies per species are taken off.  An isolated atom's forces are zero by symmetry and are left out.
    """
    n = len(frame.structure)
    labels = frame.labels
    parts = []
    if use[0] and labels.energy is not None:
        target = np.array([labels.energy - reference.total(frame.structure, frame.isolated)])
        parts.append((0, np.zeros(1, np.int64), target))
    if use[1] and labels.forces is not None and not frame.isolated:
        parts.append((1, 1 + np.arange(3 * n), labels.forces.reshape(-1)))
    if use[2] and labels.stress is not None:
        parts.append((2, 1 + 3 * n + np.arange(6), labels.stress))
    rows: list[list[np.ndarray]] = [[], [], [], [], []]
    for kind, places, targets in parts:
        sigma, known = noise.sigma(OBSERVABLES[kind], frame)
        size = len(targets)
        for column, values in zip(
            rows,
            (places, targets, np.full(size, sigma), np.full(size, known), np.full(size, kind)),
            strict=True,
        ):
            column.append(values)
    types = (np.int64, float, float, bool, np.int64)
    joined = [
        np.concatenate(c).astype(t) if c else np.zeros(0, t) for c, t in zip(rows, types, strict=True)
    ]
    return Observations(*joined)


def learnable(data: Sequence[Observations]) -> set[str]:
    """Observables of which there are labels whose σ is not known."""
    return {OBSERVABLES[k] for o in data for k in np.unique(o.kind[~o.known])}


def collect(
    frames: Sequence[Frame],
    reference: EnergyReference,
    noise: Noise,
    use: tuple[bool, bool, bool],
) -> list[Observations]:
    """Collect the observations of all frames.

    Raises:
        InputError: if nothing is left to train on.
    """
    found = [observations(f, reference, noise, use) for f in frames]
    if not sum(len(o) for o in found):
        kept = ", ".join(n for n, u in zip(OBSERVABLES, use, strict=True) if u) or "nothing"
        raise InputError(
            f"nothing to train on: {len(frames)} structures, training on {kept}, but no such label is there: "
            "check [train] and the key names (`gpjaxpot check`)"
        )
    return found
