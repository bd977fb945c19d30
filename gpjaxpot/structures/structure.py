"""Atoms in space: positions, atomic numbers, cell and periodic directions."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from gpjaxpot.errors import InputError

# Farthest from the origin, and longest cell vector (Å): beyond lie missing decimal points, and
# the cell lists of neighbour searches overflow (vesin 0.6.2 ends the process at 1e5 Å).
_FARTHEST = 1e4
# Smallest length (Å) and smallest singular value of the unit vectors that still make a cell.
_SHORTEST_VECTOR = 1e-3
_FLATTEST_CELL = 1e-4


class Structure(eqx.Module):
    """Positions (Å), atomic numbers, cell (Å, rows are vectors) and periodic directions.

    Host side: NumPy float64. Rows of `cell` may be zero in directions that are not
    periodic. Positions are kept as they came, inside the cell or not.
    """

    positions: Float[np.ndarray, "atoms 3"]
    numbers: Int[np.ndarray, " atoms"]
    cell: Float[np.ndarray, "3 3"]
    pbc: tuple[bool, bool, bool] = eqx.field(static=True)

    def __init__(
        self,
        positions: ArrayLike,
        numbers: ArrayLike,
        cell: ArrayLike | None = None,
        pbc: Any = False,
    ):
        """Check and keep the atoms.

        Args:
            positions: (atoms, 3) in Å.
            numbers: (atoms,) atomic numbers, 1 to 118.
            cell: (3, 3) in Å, rows are vectors; none for a molecule.
            pbc: one truth value for all directions, or three.

        Raises:
            InputError: for wrong shapes, values that are not finite or beyond 10⁴ Å, no atoms,
                unknown elements, or periodic directions whose vectors span nothing.
        """
        self.positions = _numbers(positions, "positions")
        self.numbers = _atomic_numbers(numbers)
        self.cell = np.zeros((3, 3)) if cell is None else _numbers(cell, "cell")
        self.pbc = _directions(pbc)
        _check_shapes(self.positions, self.numbers, self.cell)
        _check_finite(self.positions, self.cell)
        _check_cell(self.cell, self.pbc)

    def __len__(self) -> int:
        """Return the number of atoms."""
        return int(self.numbers.shape[0])

    @property
    def volume(self) -> float | None:
        """Cell volume in Å³; None unless all three directions are periodic."""
        return float(abs(np.linalg.det(self.cell))) if all(self.pbc) else None

    def moved_to(self, positions: ArrayLike) -> "Structure":
        """The same atoms in the same cell, which are not checked again, at other `positions` (atoms, 3) in Å.

        Raises:
            InputError: for positions of another shape, not finite or beyond 10⁴ Å.
        """
        made = object.__new__(Structure)  # not by __init__, whose checks take longer than a small prediction's kernel
        values = {"positions": _numbers(positions, "positions"), "numbers": self.numbers, "cell": self.cell}
        _check_shapes(values["positions"], self.numbers, self.cell)
        _check_finite(values["positions"], self.cell)
        for name, value in (values | {"pbc": self.pbc}).items():
            object.__setattr__(made, name, value)
        return made

    @classmethod
    def from_ase(cls, atoms: Any) -> "Structure":
        """Copy positions, numbers, cell and pbc of `ase.Atoms`; nothing else is read."""
        return cls(atoms.positions, atoms.numbers, np.asarray(atoms.cell), atoms.pbc)

    def to_ase(self) -> Any:
        """Return `ase.Atoms` with the same positions, numbers, cell and pbc."""
        from ase import Atoms

        return Atoms(self.numbers, self.positions, cell=self.cell, pbc=self.pbc)


def _numbers(values: ArrayLike, name: str) -> np.ndarray:
    try:
        # A copy, so that a later change of the caller's array cannot change the structure.
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be numbers; {error}") from error


def _atomic_numbers(values: ArrayLike) -> np.ndarray:
    numbers = np.array(values)
    if numbers.size and not np.issubdtype(numbers.dtype, np.integer):
        raise InputError(f"atomic numbers must be integers, got {numbers.dtype}")
    if numbers.size and (numbers.min() < 1 or numbers.max() > 118):
        wrong = numbers[(numbers < 1) | (numbers > 118)][0]
        raise InputError(
            f"atomic number {wrong} is no element (1 to 118): give each atom a chemical symbol"
        )
    return numbers.astype(np.int64)


def _directions(pbc: Any) -> tuple[bool, bool, bool]:
    flags = np.atleast_1d(np.asarray(pbc))
    if flags.shape not in {(1,), (3,)}:
        raise InputError(f"pbc must be one truth value or three, got {pbc!r}")
    a, b, c = np.broadcast_to(flags, 3)
    return bool(a), bool(b), bool(c)


def _check_shapes(positions: np.ndarray, numbers: np.ndarray, cell: np.ndarray) -> None:
    if numbers.ndim != 1 or positions.shape != (numbers.shape[0], 3):
        raise InputError(
            f"positions must have shape (atoms, 3) and numbers (atoms,), "
            f"got {positions.shape} and {numbers.shape}"
        )
    if numbers.size == 0:
        raise InputError("the structure has no atoms: remove it")
    if cell.shape != (3, 3):
        raise InputError(f"cell must have shape (3, 3), rows are vectors, got {cell.shape}")


def _check_finite(positions: np.ndarray, cell: np.ndarray) -> None:
    if not np.isfinite(positions).all():
        bad = ~np.isfinite(positions).all(axis=1)
        atom = int(np.argmax(bad))
        raise InputError(
            f"position of atom {atom} is {positions[atom]}, not finite: "
            "correct it or remove the structure"
        )
    if not np.isfinite(cell).all():
        raise InputError("the cell has entries that are not finite: correct it")
    if max(np.abs(positions).max(), np.abs(cell).max()) > _FARTHEST:
        far = int(np.argmax(np.abs(positions).max(axis=1)))
        raise InputError(
            f"atom {far} is at {positions[far]} in the cell {cell.tolist()}: nothing may be "
            f"farther than {_FARTHEST:g} Å; look for a missing decimal point or wrong units"
        )


def _check_cell(cell: np.ndarray, pbc: tuple[bool, bool, bool]) -> None:
    vectors = cell[np.array(pbc)]
    if not len(vectors):
        return
    lengths = np.linalg.norm(vectors, axis=1)
    flat = lengths.min() < _SHORTEST_VECTOR
    if not flat:
        unit = vectors / lengths[:, None]
        # Singular values are at most √3, so the least is at least a third of the determinant: the quick answer.
        quick = len(unit) == 3 and abs(np.dot(unit[0], np.cross(unit[1], unit[2]))) > 3.0 * _FLATTEST_CELL
        flat = not quick and np.linalg.svd(unit)[1][-1] < _FLATTEST_CELL
    if flat:
        raise InputError(
            f"periodic directions {pbc} need cell vectors that are not zero and not "
            f"parallel, got {cell.tolist()}: give the cell, or mark the direction as not periodic"
        )
