"""Energy of each species by itself, taken off the total energies before fitting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import equinox as eqx
import numpy as np
from jaxtyping import Float

from gpjaxpot.errors import InputError
from gpjaxpot.structures.elements import SYMBOLS, atomic_number, symbol, symbols
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.structure import Structure

# Two isolated atoms of one species may differ by this much (eV) before they contradict.
_SAME_ATOM = 1e-2


class EnergyReference(eqx.Module):
    """One energy (eV) for each species; a total energy is their sum plus what is learned.

    `origin` says where the values come from, "isolated atoms", "least squares" or "given";
    `note` says it for people, with what to beware of.
    """

    numbers: tuple[int, ...] = eqx.field(static=True)
    values: Float[np.ndarray, " species"]
    origin: str = eqx.field(static=True)
    note: str = eqx.field(static=True, default="")
    cohesion: Float[np.ndarray, " species"] | None = None
    """What atoms that are bound have beyond `values`, on the average (eV); None where that is left to be learned."""

    def energies(self, structure: Structure, isolated: bool = False) -> Float[np.ndarray, " atoms"]:
        """Return the energy of the species of each atom of `structure`, in eV, with cohesion unless it is `isolated`.

        Raises:
            InputError: for a species without a value.
        """
        table = np.full(len(SYMBOLS), np.nan)
        table[list(self.numbers)] = self.values if isolated or self.cohesion is None else self.values + self.cohesion
        energies = table[structure.numbers]
        if np.isnan(energies).any():
            unknown = sorted(set(structure.numbers[np.isnan(energies)].tolist()))
            raise InputError(
                f"no reference energy for {symbols(unknown)}; known are {symbols(self.numbers)}: "
                "fit with structures of this species, or leave this one out"
            )
        return energies

    @property
    def cohesive_energies(self) -> dict[int, float]:
        """Cohesion (eV) by atomic number; empty where it is left to be learned."""
        return {} if self.cohesion is None else dict(zip(self.numbers, self.cohesion.tolist(), strict=True))

    def total(self, structure: Structure, isolated: bool = False) -> float:
        """Return the sum of `energies`, in eV."""
        return float(np.sum(self.energies(structure, isolated)))


@dataclass(frozen=True)
class CompositionRank:
    """How many energies per species the compositions of a set determine."""

    n_species: int
    rank: int

    @property
    def determined(self) -> bool:
        """Whether every species' energy follows from the total energies."""
        return self.rank == self.n_species


def composition_rank(structures: Sequence[Structure]) -> CompositionRank:
    """Return the rank of the table of compositions, one row for each structure."""
    numbers = _species(structures)
    return CompositionRank(len(numbers), _rank(_fractions(structures, numbers)))


def fit_reference(
    frames: Sequence[Frame], given: Mapping[str, float | int] | None = None
) -> EnergyReference:
    """Return one energy for each species of `frames`.

    Given values come first. The others are those of isolated atoms, if every such species has
    one; else the least-squares fit to the energies per atom, of minimum norm where the
    compositions leave a choice. No ridge is added: it would leave a share of the total energy
    to be learned. With isolated atoms for some species only, these are not mixed with fitted
    values, except for a species that occurs nowhere else.

    Args:
        frames: the training structures; those without an energy only say which species occur.
        given: eV for chemical symbols.

    Raises:
        InputError: for a given value that is no number or no element, or isolated atoms of
            one species that contradict each other.
    """
    numbers = _species([frame.structure for frame in frames])
    fixed, note = _given(given or {}, numbers)
    alone = _isolated(frames)
    if all(z in fixed for z in numbers):
        return _made(numbers, fixed, "given", note)
    open_species = [z for z in numbers if z not in fixed]
    if all(z in alone for z in open_species):
        table = {**alone, **fixed}
        text = f"energy per species of {symbols(open_species)} from isolated atoms"
        return _made(numbers, table, "isolated atoms", _joined(text, note))
    fitted, text = _least_squares(frames, open_species, fixed, alone)
    return _made(numbers, {**fitted, **fixed}, "least squares", _joined(text, note))


def with_cohesion(reference: EnergyReference, frames: Sequence[Frame]) -> EnergyReference:
    """Return `reference` with the energies per species that structures of more than one atom have beyond it.

    By least squares over energies per atom, of minimum norm where the compositions leave a choice.
    """
    used = [f for f in frames if f.labels.energy is not None and not f.isolated]
    beyond = [((f.labels.energy or 0.0) - reference.total(f.structure, True)) / len(f.structure) for f in used]
    table = _fractions([f.structure for f in used], reference.numbers)
    found = np.linalg.lstsq(table, np.array(beyond), rcond=None)[0] if used else np.zeros(len(reference.numbers))
    return eqx.tree_at(lambda r: r.cohesion, reference, found, is_leaf=lambda x: x is None)


def _made(
    numbers: Sequence[int], table: Mapping[int, float], origin: str, note: str
) -> EnergyReference:
    values = np.array([table[z] for z in numbers], dtype=np.float64)
    shown = ", ".join(f"{symbol(z)} {table[z]:.4f} eV" for z in numbers)
    return EnergyReference(tuple(numbers), values, origin, f"{_joined(note, '')} ({shown})".strip())


def _joined(text: str, other: str) -> str:
    return "; ".join(part for part in (text, other) if part)


def _given(
    given: Mapping[str, float | int], numbers: Sequence[int]
) -> tuple[dict[int, float], str]:
    fixed, surplus = {}, []
    for name, value in given.items():
        z = atomic_number(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise InputError(f"the energy given for {name} must be a number in eV, got {value!r}")
        if z in numbers:
            fixed[z] = float(value)
        else:
            surplus.append(z)
    notes = [f"energy per species of {symbols(sorted(fixed))} as given"] if fixed else []
    if surplus:
        notes.append(f"that given for {symbols(surplus)} is not needed: no atom of it in the data")
    return fixed, "; ".join(notes)


def _isolated(frames: Sequence[Frame]) -> dict[int, float]:
    energies: dict[int, list[tuple[float, str]]] = {}
    for frame in frames:
        if frame.isolated and frame.labels.energy is not None:
            z = int(frame.structure.numbers[0])
            energies.setdefault(z, []).append((frame.labels.energy, frame.source))
    for z, found in energies.items():
        low, high = min(found), max(found)
        if high[0] - low[0] > _SAME_ATOM:
            raise InputError(
                f"isolated {symbol(z)} has two energies: {low[0]:.6g} eV ({low[1]}) and "
                f"{high[0]:.6g} eV ({high[1]}): keep the one of the ground state"
            )
    return {z: float(np.mean([energy for energy, _ in found])) for z, found in energies.items()}


def _least_squares(
    frames: Sequence[Frame],
    species: Sequence[int],
    fixed: Mapping[int, float],
    alone: Mapping[int, float],
) -> tuple[dict[int, float], str]:
    """Fit energies per atom; each structure counts once, whatever its size."""
    used = [f for f in frames if f.labels.energy is not None and not f.isolated]
    met = set(_species([frame.structure for frame in used]))
    result = {z: alone.get(z, 0.0) for z in species if z not in met}
    known = {**result, **fixed}
    wanted = [z for z in species if z in met]
    if not wanted:
        return result, "no energies in the data: the energy per species is 0, energies have no zero"
    structures = [frame.structure for frame in used]
    others = sorted(known)
    per_atom = np.array([(f.labels.energy or 0.0) / len(f.structure) for f in used])
    per_atom -= _fractions(structures, others) @ np.array([known[z] for z in others])
    table = _fractions(structures, wanted)
    solution = np.linalg.lstsq(table, per_atom, rcond=None)[0]
    rank = _rank(table)
    rms = float(np.sqrt(np.mean((table @ solution - per_atom) ** 2)))
    text = (
        f"energy per species of {symbols(wanted)} by least squares over {len(used)} structures "
        f"(rms {1e3 * rms:.0f} meV/atom)"
    )
    missing = [z for z in wanted if z not in alone]
    if missing:
        text += f"; no isolated atom of {symbols(missing)}"
    if rank < len(wanted):
        text += (
            f"; the compositions determine only {rank} of {len(wanted)} values (they are "
            "collinear), the solution of minimum norm was taken: energies of other compositions "
            "are not to be trusted; give isolated atoms, or energies per species"
        )
    return result | dict(zip(wanted, solution.tolist(), strict=True)), text


def _species(structures: Sequence[Structure]) -> list[int]:
    return sorted({int(z) for structure in structures for z in np.unique(structure.numbers)})


def _fractions(structures: Sequence[Structure], numbers: Sequence[int]) -> np.ndarray:
    wanted = np.array(numbers, dtype=np.int64)
    return np.array(
        [np.mean(s.numbers[:, None] == wanted[None, :], axis=0) for s in structures]
    ).reshape(len(structures), len(numbers))


def _rank(table: np.ndarray) -> int:
    # Fractions of atoms are exact to rounding: what is collinear is so to 1e-15.
    return int(np.linalg.matrix_rank(table, tol=1e-10 * max(table.shape))) if table.size else 0
