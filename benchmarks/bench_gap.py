"""Test errors of fits without configuration and of gap_fit with one SOAP, on the same structures.

python -m benchmarks.bench_gap [--data FOLDER] [--sets LiPS water] [--seconds 900] [--name gap]

gap_fit keeps the derivatives of all vectors in memory, some 100 MB for a structure, so that it is given a part of the
sets, drawn at random, and we the same part.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from benchmarks.bench_accuracy import train_and_test
from benchmarks.inputs import BUILD, parser
from benchmarks.machine import RESULTS
from benchmarks.peers.gap_fit import run_gap_fit
from benchmarks.peers.quippy_process import one_shot
from benchmarks.sets import for_each_set
from benchmarks.table import table

# Structures of each set that gap_fit fits in some 6 GB.
COUNTS = {"LiPS": 60, "water": 24, "Pt111_CO": 40, "3BPA": 120, "TiAl": 264}
INDUCING = 2000
# Vacuum (Å) around a molecule, further than anything reaches.
BOX = 10.0
LABELS = {"energy_mae_meV_per_atom": "E MAE meV/atom", "energy_rmse_meV_per_atom": "RMSE",
          "forces_mae_eV_per_A": "F MAE eV/Å", "forces_rmse_eV_per_A": "RMSE"}  # fmt: skip


def expert_config(species: int, hydrogen: bool) -> dict[str, Any]:
    """One SOAP as an expert sets it by hand, in the words of our config files."""
    return {
        "descriptor": [
            {
                "type": "soap",
                "n_max": 8,
                "l_max": 6,
                "sigma": 0.3 if hydrogen else 0.5,
                "cutoff": 5.0,
                "cutoff_width": 1.0,
            }
        ],
        "kernel": {"type": "dot_power", "zeta": 4},
        "noise": {"energy": 0.002, "energy_exponent": 0.5, "forces": 0.05},
        # gap_fit takes so many of each species
        "model": {"method": "sparse", "n_inducing": INDUCING // species, "selection": "leverage"},
        "train": {"energies": True, "forces": True, "stress": False, "seed": 0},
    }


def part_of(folder: Path, count: int, tested: int) -> Path:
    """A folder with `count` training structures and `tested` test structures, as files for both programs."""
    made = BUILD / "gap" / folder.name
    made.mkdir(parents=True, exist_ok=True)
    for name, most in (("train.xyz", count), ("test.xyz", tested)):
        frames = ase.io.read(folder / name, ":")
        drawn = np.random.default_rng(0).permutation(len(frames))[:most]
        for atoms in frames:
            if not atoms.cell.rank:  # gap_fit reads no file without a lattice; in none of its directions it is periodic
                atoms.center(vacuum=BOX)
        ase.io.write(made / name, [frames[i] for i in sorted(drawn)], format="extxyz")
    if (folder / "isolated_atoms.xyz").exists():
        shutil.copy(folder / "isolated_atoms.xyz", made)
    return made


def gap_errors(folder: Path, core: int) -> dict[str, Any]:
    """Fits by gap_fit and evaluates: errors, seconds and memory."""
    frames = ase.io.read(folder / "train.xyz", ":")
    species = np.unique(np.concatenate([atoms.numbers for atoms in frames]))
    config = expert_config(len(species), 1 in species)
    alone = folder / "isolated_atoms.xyz"
    isolated = {}
    if alone.exists():
        isolated = {atoms.symbols[0]: float(atoms.get_potential_energy()) for atoms in ase.io.read(alone, ":")}
    record = run_gap_fit(config, folder / "train.xyz", folder / "model", core, isolated)
    return record | one_shot((folder / "model" / "gap.xml").resolve(), "--evaluate", str(folder / "test.xyz"))


def compared(name: str, whole: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Both programs on the same part of a set."""
    count = given.structures or COUNTS.get(name, 50)
    folder = part_of(whole, count, given.test_structures)
    theirs = stored(name, given) if given.keep_peer else None
    if theirs is None:
        theirs = gap_errors(folder, given.core)
        print(f"{name}: gap_fit in {theirs['seconds']:.0f} s", flush=True)
    return {"gpjaxpot": train_and_test(folder, count, given.test_structures, given.seconds), "gap_fit": theirs}


def stored(name: str, given: argparse.Namespace) -> dict[str, Any] | None:
    """What gap_fit, which draws nothing, made of the same structures before; None if there is no such record."""
    path = RESULTS / f"{given.name}.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    same = all(record["limits"][key] == getattr(given, key) for key in ("structures", "test_structures"))
    return record["sets"][name]["gap_fit"] if same and name in record["sets"] else None


def rows(name: str, found: dict[str, Any]) -> list[list[object]]:
    """Lines of the table: ours, theirs, and ratios."""
    ours, peer = found["gpjaxpot"], found["gap_fit"]
    return [
        [name, ours["n_train"], "gpjaxpot", *(ours[k] for k in LABELS), ours["fit_seconds"]],
        ["", "", "gap_fit", *(peer[k] for k in LABELS), peer["seconds"]],
        ["", "", "ratio", *(ours[k] / peer[k] for k in LABELS), None],
    ]


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--sets", nargs="+", default=tuple(COUNTS), metavar="NAME", help="data sets")
    options.add_argument("--structures", type=int, help="training structures at most, instead of what fits")
    options.add_argument("--test-structures", type=int, default=100, help="test structures at most")
    options.add_argument("--seconds", type=float, default=900.0, help="that our fit may take")
    options.add_argument("--keep-peer", action="store_true", help="take gap_fit's numbers from the stored record")
    options.add_argument("--name", default="gap", help="of the file under results/")
    given = options.parse_args()
    result = for_each_set(given, lambda name, folder: compared(name, folder, given))
    if result:
        lines = [line for name, found in result.items() for line in rows(name, found)]
        print(table(["set", "structures", "program", *LABELS.values(), "fit s"], lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
