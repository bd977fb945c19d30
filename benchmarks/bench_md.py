"""Molecular dynamics with the ASE calculator: compilations and conservation of energy.

python -m benchmarks.bench_md [--data FOLDER] [--model OURS] [--steps 1000]

64 silicon atoms are brought to 300 K by Langevin dynamics; then the total energy is followed at
constant energy. The model is that of the benchmark of the fit; without it, one is fitted.
"""

import logging
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary
from ase.md.verlet import VelocityVerlet

from benchmarks.bench_fit import MODEL
from benchmarks.inputs import CONFIG, data_set, parser, silicon
from benchmarks.machine import write_result
from benchmarks.our_fit import run_our_fit
from benchmarks.table import table
from benchmarks.timing import pin

KELVIN = 300.0


class Compilations(logging.Handler):
    """Counts what JAX compiles, by name, from the lines that it logs."""

    def __init__(self):
        super().__init__()
        self.names: Counter[str] = Counter()
        # JAX logs to a handler of its own, too: these lines are for us alone.
        for name in ("jax._src.dispatch", "jax._src.interpreters.pxla"):
            logger = logging.getLogger(name)
            logger.addHandler(self)
            logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Counts a line that says that a compilation has ended."""
        line = record.getMessage()
        if line.startswith("Finished XLA compilation of "):
            self.names[line.removeprefix("Finished XLA compilation of ").split(" in ")[0]] += 1

    def taken(self) -> dict[str, int]:
        """The counts since the last call."""
        counts, self.names = dict(self.names.most_common()), Counter()
        return counts


def equilibrated(atoms: Atoms, steps: int) -> Atoms:
    """The atoms at `KELVIN`, at rest as a whole."""
    generator = np.random.default_rng(0)
    # Twice the temperature: in a harmonic solid, half of it goes into the springs.
    spread = np.sqrt(atoms.get_masses()[:, None] * units.kB * 2 * KELVIN)
    atoms.set_momenta(generator.normal(size=(len(atoms), 3)) * spread)
    Stationary(atoms)
    friction = 0.02 / units.fs
    thermostat = Langevin(atoms, units.fs, temperature_K=KELVIN, friction=friction, fixcm=False, rng=generator)
    thermostat.run(steps)
    Stationary(atoms)
    return atoms


def total_energies(atoms: Atoms, steps: int) -> np.ndarray:
    """Total energy in eV per atom before each of `steps` steps of 1 fs, and after the last."""
    energies: list[float] = []
    dynamics = VelocityVerlet(atoms, units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy() / len(atoms)))
    dynamics.run(steps)
    return np.array(energies)


def drift(energies: np.ndarray) -> tuple[float, float]:
    """Slope of a straight line through the energies, per ps, and their scatter about it."""
    picoseconds = np.arange(len(energies)) * 1e-3
    slope, level = np.polyfit(picoseconds, energies, 1)
    return float(slope), float(np.std(energies - slope * picoseconds - level))


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--model", type=Path, default=MODEL, help="a potential of ours")
    options.add_argument("--steps", type=int, default=1000, help="of 1 fs, at constant energy")
    options.add_argument("--equilibration", type=int, default=500, help="steps at 300 K before")
    given = options.parse_args()
    if not given.model.exists():
        folder = data_set(given.data, "Si_mlearn")
        if folder is None:
            return 0
        run_our_fit(CONFIG, folder / "train.xyz", given.model, given.core)
    pin(given.core)
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_log_compiles", True)
    compilations = Compilations()
    from gpjaxpot import Calculator, Potential

    atoms = silicon(2, displaced=0.0)
    atoms.calc = Calculator(Potential.load(given.model))
    compilations.taken()
    equilibrated(atoms, given.equilibration)
    before = compilations.taken()
    start = time.perf_counter()
    energies = total_energies(atoms, given.steps)
    seconds = time.perf_counter() - start
    during = compilations.taken()
    slope, scatter = drift(energies)
    result = {
        "atoms": len(atoms),
        "steps": given.steps,
        "kelvin_at_end": float(atoms.get_temperature()),
        "compiled_while_equilibrating": before,
        "compiled_at_constant_energy": during,
        "compilations_of_the_predictor": sum(
            count for name, count in (Counter(before) + Counter(during)).items() if "evaluate" in name
        ),
        "drift_eV_per_atom_per_ps": slope,
        "scatter_eV_per_atom": scatter,
        "seconds_per_step": seconds / given.steps,
    }
    print(table(["64 silicon atoms, 300 K, float64", ""], list(result.items())))
    print(f"wrote {write_result('md', result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
