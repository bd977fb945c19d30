"""What was computed for a structure: energy, forces and stress, any of them absent."""

from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from gpjaxpot.errors import InputError
from gpjaxpot.structures.structure import Structure

ISOLATED_GROUPS = frozenset({"isolatedatom"})
# Codes leave numerical noise in a stress, a wrong order of its numbers leaves much more:
# share of the largest entry, and eV/Å³ (16 MPa).
_ASYMMETRY = (1e-2, 1e-4)


class Labels(eqx.Module):
    """Energy (eV), forces (eV/Å), stress (eV/Å³), and how sure each is; None is absent.

    Stress has ASE's sign (positive is tension) and Voigt order xx yy zz yz xz xy. Each
    `…_sigma` is a standard deviation in the unit of its label (of the structure's total
    energy; of one force or stress component) and overrides the model's noise.
    """

    energy: float | None
    forces: Float[np.ndarray, "atoms 3"] | None
    stress: Float[np.ndarray, " 6"] | None
    energy_sigma: float | None
    forces_sigma: float | None
    stress_sigma: float | None

    def __init__(
        self,
        energy: Any = None,
        forces: ArrayLike | None = None,
        stress: ArrayLike | None = None,
        *,
        energy_sigma: Any = None,
        forces_sigma: Any = None,
        stress_sigma: Any = None,
    ):
        """Check and keep the labels; stress comes as 6 Voigt components, 9 numbers or 3x3.

        Energy and sigmas are single numbers of any kind, also NumPy's.

        Raises:
            InputError: for wrong shapes, values that are not finite, a stress that is not
                symmetric, or a sigma that is not positive.
        """
        self.energy = None if energy is None else scalar(energy, "energy")
        self.forces = None if forces is None else _forces(forces)
        self.stress = None if stress is None else voigt(stress)
        self.energy_sigma = _sigma(energy_sigma, "energy")
        self.forces_sigma = _sigma(forces_sigma, "forces")
        self.stress_sigma = _sigma(stress_sigma, "stress")

    @property
    def empty(self) -> bool:
        """Whether nothing was computed."""
        return self.energy is None and self.forces is None and self.stress is None


class Frame(eqx.Module):
    """A structure, its labels, the group it belongs to and where it came from."""

    structure: Structure
    labels: Labels
    group: str | None = eqx.field(static=True)
    source: str = eqx.field(static=True)

    def __init__(
        self,
        structure: Structure,
        labels: Labels | None = None,
        group: str | None = None,
        source: str = "",
    ):
        """Keep the parts, having checked that forces belong to these atoms.

        Raises:
            InputError: if the number of forces is not the number of atoms, or a stress is
                given for a structure that is not periodic in all three directions.
        """
        self.structure = structure
        self.labels = Labels() if labels is None else labels
        self.group = group
        self.source = source
        where = f"{source}: " if source else ""
        forces = self.labels.forces
        if forces is not None and forces.shape[0] != len(structure):
            raise InputError(f"{where}{forces.shape[0]} forces for {len(structure)} atoms")
        if self.labels.stress is not None and not all(structure.pbc):
            raise InputError(
                f"{where}a stress needs three periodic directions, got pbc {structure.pbc}: "
                "remove the stress or mark the directions as periodic"
            )

    @property
    def isolated(self) -> bool:
        """Whether this is one atom alone: not periodic, or marked so by its group."""
        if len(self.structure) != 1:
            return False
        return not any(self.structure.pbc) or is_isolated_group(self.group)


def is_isolated_group(group: str | None) -> bool:
    """Whether the group's name says "isolated atom" (IsolatedAtom, isolated_atom, …)."""
    return group is not None and group.lower().replace("_", "").replace("-", "") in ISOLATED_GROUPS


def voigt(stress: ArrayLike) -> Float[np.ndarray, " 6"]:
    """Return the Voigt components xx yy zz yz xz xy of a stress or virial.

    Takes 6 Voigt components as they are, 9 numbers, or a 3x3 tensor, of which the
    symmetric part is kept.

    Raises:
        InputError: for another shape, values that are not finite, or a tensor that is not
            symmetric to 1 % of its largest entry.
    """
    values = _finite(stress, "stress")
    if values.shape == (6,):
        return values
    if values.size != 9 or values.shape not in {(9,), (3, 3)}:
        raise InputError(
            f"stress must have 6 Voigt components or 9 numbers, got shape {values.shape}"
        )
    tensor = values.reshape(3, 3)
    difference = np.abs(tensor - tensor.T).max()
    if difference > _ASYMMETRY[0] * np.abs(tensor).max() + _ASYMMETRY[1]:
        raise InputError(
            f"stress tensor is not symmetric (entries differ by {difference:.3g}): "
            "check the order of its nine numbers"
        )
    tensor = (tensor + tensor.T) / 2
    return np.array([tensor[i, j] for i, j in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))])


def scalar(value: Any, name: str) -> float:
    """Return `value` as one finite float, or raise an InputError that names it."""
    array = _finite(value, name)
    if array.size != 1:
        raise InputError(f"{name} must be one number, got {array.size} numbers")
    return float(array.reshape(()))


def _finite(value: Any, name: str) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype == bool or not np.issubdtype(array.dtype, np.number):
        raise InputError(f"{name} must be a number, got {value!r}: correct or remove it")
    if np.iscomplexobj(array):
        raise InputError(f"{name} must be real, got {value!r}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise InputError(
            f"{name} is {_first_bad(array)}, not finite: "
            "correct it, or remove the label (a missing label is simply left out)"
        )
    return array


def _first_bad(array: np.ndarray) -> str:
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    if not place or array.size == 1:
        return f"{array.reshape(-1)[0]}"
    return f"{array[place]} at {list(place)}"


def _forces(forces: ArrayLike) -> np.ndarray:
    array = np.asarray(forces)
    if array.ndim != 2 or array.shape[1] != 3:
        raise InputError(f"forces must have shape (atoms, 3), got {array.shape}")
    if np.issubdtype(array.dtype, np.number) and not np.isfinite(array).all():
        atom = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise InputError(
            f"force on atom {atom} is {array[atom]}, not finite: "
            "correct it, or remove the forces of this structure"
        )
    return _finite(array, "forces")


def _sigma(value: Any, name: str) -> float | None:
    if value is None:
        return None
    sigma = scalar(value, f"{name}_sigma")
    if sigma <= 0:
        raise InputError(
            f"{name}_sigma must be positive, got {sigma}: to leave the label out, remove it"
        )
    return sigma
