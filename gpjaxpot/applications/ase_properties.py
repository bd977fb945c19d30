"""Names of uncertainties in ASE's results, and how they survive ASE's files.

ASE keeps only the properties it knows: an unknown name is dropped by the extended XYZ and `.traj`
writers and refused by `SinglePointCalculator`. `register` makes the names known to this process.
`save_results` needs no registration and is read by any program: it copies the results to
`atoms.info` and `atoms.arrays`. Databases (`ase.db`) drop unknown names in any case; store the
arrays of `save_results` in their `data`.
"""

import sys
from types import ModuleType
from typing import Any

import ase
import numpy as np
from ase.calculators import calculator as ase_calculator

from gpjaxpot.errors import InputError

QUANTITIES = {
    "energy": (),
    "energies": ("natoms",),
    "forces": ("natoms", 3),
    "stress": (6,),
}
"""Shape of each quantity in ASE's results; its standard deviations have the same."""

SUFFIXES = {
    "_uncertainty": "_std",
    "_uncertainty_epistemic": "_epistemic_std",
    "_uncertainty_aleatoric": "_aleatoric_std",
}
"""Ending of a name in ASE's results, and the ending of the same raw field of a `Prediction`."""

UNCERTAINTIES = {
    quantity + suffix: shape for quantity, shape in QUANTITIES.items() for suffix in SUFFIXES
}
"""Shape of every uncertainty in ASE's results: one standard deviation, in the quantity's unit."""


def register() -> bool:
    """Make ASE in this process keep the uncertainties; may be called any number of times.

    With this, `SinglePointCalculator`, `Atoms.get_properties`, extended XYZ and `.traj` carry
    them. It lengthens lists that belong to ASE, through a private function, so it happens only
    when a `Calculator` is made or this is called, and takes nothing away from them.

    Returns:
        Whether the installed ASE has everything that was wanted; if not, use `save_results`.
    """
    complete = _register_outputs()
    for name, shape in UNCERTAINTIES.items():
        per_atom = "natoms" in shape
        complete &= _append(ase_calculator, "all_properties", name)
        # This module makes its lists when it is imported: they lack the names if that was before.
        if extxyz := sys.modules.get("ase.io.extxyz"):
            kind = "per_atom_properties" if per_atom else "per_config_properties"
            complete &= _append(extxyz, kind, name)
    return complete


def save_results(atoms: ase.Atoms, prefix: str = "GPJ_") -> None:
    """Copy the calculator's results into `atoms.info` and `atoms.arrays`, names prefixed.

    Per-atom results go to `arrays`, the others to `info`; stress in Voigt order xx yy zz yz xz
    xy. What an earlier call left under these names is removed, so that nothing stale stays.
    Extended XYZ writes columns with eight decimals.

    Raises:
        InputError: if the calculator has no results for the present positions and cell.
    """
    calc = atoms.calc
    if calc is None or not calc.results or calc.check_state(atoms):
        raise InputError(
            "no results to save for the present positions and cell: "
            "call atoms.get_potential_energy() first, with a gpjaxpot.Calculator attached"
        )
    for name, shape in (QUANTITIES | UNCERTAINTIES).items():
        value = calc.results.get(name)
        _put(atoms, prefix + name, None if value is None else np.array(value, float), shape)


def _put(atoms: ase.Atoms, key: str, value: np.ndarray | None, shape: tuple) -> None:
    """Store one result, per atom or for the whole; None removes what was there."""
    store: dict[str, Any] = atoms.arrays if "natoms" in shape else atoms.info
    store.pop(key, None)
    if value is not None:
        store[key] = value if shape else float(value)


def _register_outputs() -> bool:
    """Define the names in `ase.outputs`; False if this ASE has no such registry."""
    try:
        from ase.outputs import _defineprop, all_outputs
    except ImportError:
        return False
    for name, shape in UNCERTAINTIES.items():
        if name not in all_outputs:
            _defineprop(name, float, shape)
    return True


def _append(module: ModuleType, attribute: str, name: str) -> bool:
    """Append `name` to a module's list unless it is there; False if there is no such list."""
    names = getattr(module, attribute, None)
    if not isinstance(names, list):
        return False
    if name not in names:
        names.append(name)
    return True
