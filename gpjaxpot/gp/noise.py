"""Label noise: what the reference calculation leaves uncertain, for each observable and structure."""

from collections.abc import Mapping
from dataclasses import replace

import equinox as eqx
from jaxtyping import Array, Float

from gpjaxpot.structures.labels import Frame

# Exponents of the noise of energies: errors of the atoms are independent, or shared by all of a structure.
INDEPENDENT, SHARED = 0.5, 1.0
OBSERVABLES = ("energy", "forces", "stress")
Groups = tuple[tuple[str, tuple[tuple[str, float], ...]], ...]


class Noise(eqx.Module):
    """Standard deviations of the labels; a level that is None is still to be learned.

    A total energy of N atoms has σ = `energy` · N^`energy_exponent` (eV): exponent ½ for independent errors of
    the atoms, 1 for errors they share (k-points), 0 for one number whatever the size.  `forces` (eV/Å) and
    `stress` (eV/Å³) hold for one component.  `groups` overrides levels by the frames' group; a frame's own
    sigma overrides both; isolated atoms have `isolated_energy` (eV).

    `factors` multiply the levels that all groups share, by the frames' group; predictions are of no group.  A posterior
    is conditioned with these levels, which weigh the labels against each other and against the prior.  `reported`
    holds those that predictions state, where they differ: what structures left out show.
    """

    energy: float | Float[Array, ""] | None
    forces: float | Float[Array, ""] | None
    stress: float | Float[Array, ""] | None
    energy_exponent: float = eqx.field(static=True, default=INDEPENDENT)
    isolated_energy: float = eqx.field(static=True, default=1e-4)
    groups: Groups = eqx.field(static=True, default=())
    reported: tuple[float | None, ...] | None = eqx.field(static=True, default=None)
    factors: Groups = eqx.field(static=True, default=())

    def opened(self) -> "Noise":
        """The same noise with its three levels still to be found: σ of a label is then its level's factor."""
        return replace(self, energy=None, forces=None, stress=None, reported=None)

    def level(self, observable: str, group: str | None = None) -> float | None:
        """Level of an observable for a group; None if it is still to be learned."""
        own = _of(self.groups, group, observable)
        if own is not None:
            return own
        value = getattr(self, observable)
        return None if value is None else float(value)

    def relative(self, observable: str, n_atoms: int, group: str | None = None) -> float:
        """Factor between an observable's level and its σ in a structure of `n_atoms`, of a group."""
        size = float(n_atoms) ** self.energy_exponent if observable == "energy" else 1.0
        if _of(self.groups, group, observable) is not None:  # a level of its own
            return size
        return size * (_of(self.factors, group, observable) or 1.0)

    def sigma(self, observable: str, frame: Frame) -> tuple[float, bool]:
        """Return (σ, True), or, where the level is to be learned, (its factor, False)."""
        own = getattr(frame.labels, f"{observable}_sigma")
        if own is not None:
            return float(own), True
        if frame.isolated and observable == "energy":
            return self.isolated_energy, True
        relative = self.relative(observable, len(frame.structure), frame.group)
        level = self.level(observable, frame.group)
        return (relative, False) if level is None else (level * relative, True)

    def predicted(self, observable: str, n_atoms: int) -> float | None:
        """σ of a new label of a structure of `n_atoms` (aleatoric); None if never trained on."""
        level = self.level(observable) if self.reported is None else self.reported[OBSERVABLES.index(observable)]
        return None if level is None else level * self.relative(observable, n_atoms)


def _of(table: Groups, group: str | None, observable: str) -> float | None:
    """What a table says of an observable of a group."""
    return next((dict(values).get(observable) for name, values in table if name == group), None)


def as_groups(levels: Mapping[str, Mapping[str, float]]) -> tuple:
    """Turn {group: {observable: level}} into the hashable form that `Noise` keeps."""
    return tuple((name, tuple(sorted(of.items()))) for name, of in sorted(levels.items()) if of)
