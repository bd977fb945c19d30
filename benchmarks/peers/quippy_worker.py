"""A GAP potential in quippy, timed and evaluated: run by quippy's own Python, not by ours.

quippy_worker.py MODEL.xml --time FILE.xyz [--repeats 20]     µs per atom of energy and forces
quippy_worker.py MODEL.xml --evaluate FILE.xyz                errors against the file's labels
quippy_worker.py MODEL.xml                                    serves requests, one JSON a line

A request names a command and, for all but "quit", a structure: {"command": "time", "numbers": [14],
"positions": [[0, 0, 0]], "cell": [[...]], "pbc": [true, true, true], "repeats": 1}. "time" answers
{"seconds": [...]}, "predict" answers {"energy": ..., "forces": [...]}. Each answer is one line.
"""

import argparse
import json
import os
import statistics
import sys
import time
from importlib.metadata import version

import ase.io
import numpy as np
from ase import Atoms
from quippy.potential import Potential

PROPERTIES = ("energy", "forces")


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def timed(potential: Potential, atoms: Atoms, repeats: int, seed: int = 0, clock: str = "wall") -> list[float]:
    """Seconds of each of `repeats` evaluations of energy and forces, neighbours included.

    The atoms move by 0.01 Å between any two, as in molecular dynamics, so that nothing is reused.
    """
    now = CLOCKS[clock]
    generator = np.random.default_rng(seed)
    seconds = []
    for _ in range(repeats):
        moved = atoms.copy()
        moved.positions += generator.normal(scale=0.01, size=(len(atoms), 3))
        start = now()
        potential.calculate(moved, list(PROPERTIES))
        seconds.append(now() - start)
    return seconds


def timing_record(potential: Potential, path: str, index: int, repeats: int) -> dict:
    """Microseconds per atom for one structure of a file, after one unmeasured evaluation."""
    atoms = ase.io.read(path, index)
    timed(potential, atoms, 1)
    per_atom = [value / len(atoms) * 1e6 for value in timed(potential, atoms, repeats)]
    return {
        "program": f"quippy-ase {version('quippy-ase')}",
        "atoms": len(atoms),
        "repeats": repeats,
        "microseconds_per_atom": {"min": min(per_atom), "median": statistics.median(per_atom)},
    }


def errors(potential: Potential, path: str) -> dict:
    """Mean absolute and root-mean-square errors against the labels that ASE finds in a file."""
    energy, forces, atoms_seen = [], [], 0
    for atoms in ase.io.read(path, ":"):
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        potential.calculate(bare, list(PROPERTIES))
        results = potential.results
        energy.append((results["energy"] - atoms.get_potential_energy()) / len(atoms))
        forces.append((results["forces"] - atoms.get_forces()).ravel())
        atoms_seen += len(atoms)
    energy, forces = np.array(energy), np.concatenate(forces)
    return {
        "n_structures": len(energy),
        "n_atoms": atoms_seen,
        "energy_mae_meV_per_atom": float(np.mean(np.abs(energy)) * 1e3),
        "energy_rmse_meV_per_atom": float(np.sqrt(np.mean(energy**2)) * 1e3),
        "forces_mae_eV_per_A": float(np.mean(np.abs(forces))),
        "forces_rmse_eV_per_A": float(np.sqrt(np.mean(forces**2))),
    }


def answer(potential: Potential, request: dict) -> dict:
    """The answer to one request; an unknown command is answered by an error."""
    atoms = Atoms(
        request["numbers"],
        request["positions"],
        cell=request.get("cell"),
        pbc=request.get("pbc", False),
    )
    if request["command"] == "time":
        repeats, seed = request.get("repeats", 1), request.get("seed", 0)
        clock = request.get("clock", "wall")
        return {"seconds": timed(potential, atoms, repeats, seed, clock)}
    if request["command"] == "predict":
        potential.calculate(atoms, list(PROPERTIES))
        results = potential.results
        return {"energy": float(results["energy"]), "forces": results["forces"].tolist()}
    return {"error": f"unknown command {request['command']}: time, predict and quit are known"}


def serve(potential: Potential, answers) -> None:
    """Answers requests until the input ends or says quit."""
    print(json.dumps({"ready": f"quippy-ase {version('quippy-ase')}"}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["command"] == "quit":
            return
        print(json.dumps(answer(potential, request)), file=answers, flush=True)


def main() -> int:
    """The command line of this program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="GAP's XML file, its sparse points beside it")
    parser.add_argument("--time", metavar="FILE", help="structure to time")
    parser.add_argument("--evaluate", metavar="FILE", help="labelled structures")
    parser.add_argument("--index", type=int, default=0, help="which structure to time")
    parser.add_argument("--repeats", type=int, default=20)
    given = parser.parse_args()
    # QUIP greets on standard output; only our answers belong there.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    potential = Potential("", param_filename=given.model, calculation_always_required=True)
    if given.time:
        record = timing_record(potential, given.time, given.index, given.repeats)
        print(json.dumps(record, indent=2), file=answers, flush=True)
    if given.evaluate:
        print(json.dumps(errors(potential, given.evaluate), indent=2), file=answers, flush=True)
    if not (given.time or given.evaluate):
        serve(potential, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
