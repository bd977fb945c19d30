"""What the benchmarks work on, data, structures and models, with the options that name them."""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from benchmarks.machine import ROOT

DEFAULT_DATA = os.environ.get("GPJAXPOT_DATA", "../shared/data")
CONFIG = Path(__file__).parent / "speed" / "silicon_reference.toml"
# Models that one benchmark makes and others use.
BUILD = ROOT / "build" / "benchmarks"
# Files of other distributions, with what they are.
SHIFTED = {
    "acac": {"600 K": "test_600K.xyz"},
    "3BPA": {"600 K": "test_600K_sub.xyz", "1200 K": "test_1200K_sub.xyz"},
    "LiPS": {"new compositions": "test_ood_composition.xyz"},
    "Pt111_CO": {"3 adatoms": "test_ood_3adatom.xyz"},
}
# Lattice constant (Å) of silicon in the data.
SILICON = 5.469


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data", default=DEFAULT_DATA, help="folder of the larger data sets")
    made.add_argument("--core", type=int, default=last_core(), help="bind to this core")
    return made


def last_core() -> int:
    """The last core that this process may run on: the first one has more of the system's work."""
    if not hasattr(os, "sched_getaffinity"):
        return 0
    return max(os.sched_getaffinity(0))


def data_set(folder: str, name: str) -> Path | None:
    """The folder of a data set with train.xyz and test.xyz; None, with a message, without it."""
    path = (ROOT / folder / name).resolve()
    if (path / "train.xyz").exists() and (path / "test.xyz").exists():
        return path
    print(f"{name}: left out, there is no train.xyz and test.xyz in {Path(folder) / name}")
    return None


def data_sets(folder: str, names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Names and folders of those data sets that are there; the others are told as `data_set` does."""
    for name in names:
        path = data_set(folder, name)
        if path is not None:
            yield name, path


def silicon(repeats: int, displaced: float = 0.05) -> Atoms:
    """Diamond-structure silicon, 8·repeats³ atoms, each displaced at random (Å, per direction)."""
    atoms = bulk("Si", "diamond", a=SILICON, cubic=True).repeat(repeats)
    atoms.rattle(displaced, seed=repeats)
    return atoms


def moved(atoms: Atoms, generator: np.random.Generator, scale: float = 0.01) -> Atoms:
    """A copy whose atoms lie elsewhere (Å, per direction), as after a step of dynamics."""
    copy = atoms.copy()
    copy.positions += generator.normal(scale=scale, size=(len(atoms), 3))
    return copy
