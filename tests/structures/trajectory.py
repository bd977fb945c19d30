"""A short trajectory of hot copper in ASE's effective-medium theory, as arrays that may be spoilt."""

from functools import cache

import numpy as np
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from ase.md.verlet import VelocityVerlet

N_FRAMES = 40


@cache
def _steps():
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.rattle(0.12, seed=0)
    atoms.calc = EMT()
    dynamics = VelocityVerlet(atoms, 5 * units.fs)
    steps = []
    for _ in range(N_FRAMES):
        entropy = atoms.copy()
        # Any other smooth function of the positions stands for what smearing adds.
        entropy.calc = MorsePotential(epsilon=0.1, r0=2.55, rho0=3.5)
        steps.append(
            {
                "atoms": atoms.copy(),
                "energy": atoms.get_potential_energy(),
                "forces": atoms.get_forces(),
                "stress": atoms.get_stress(),
                "kinetic": atoms.get_kinetic_energy(),
                "smearing": entropy.get_potential_energy(),
            }
        )
        dynamics.run(1)
    return steps


def steps() -> list[dict]:
    """Return structure, labels, kinetic energy and a smooth energy that no force belongs to, of each step of 5 fs."""
    return [{name: value.copy() if isinstance(value, np.ndarray) else value for name, value in step.items()}
            for step in _steps()]  # fmt: skip
