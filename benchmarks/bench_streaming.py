"""A fit of half a million force components with 5000 inducing environments: time, peak memory, and what was estimated.

python -m benchmarks.bench_streaming [--components 500000] [--inducing 5000] [--name streaming]

The structures are 64 atoms of copper each, displaced at random in strained cells, labelled by ASE's effective-medium
theory; the descriptor is that of the speed benchmarks with a cutoff of 4.5 Å, noise levels are given, and the signal
variance is learned.  K_fu in whole, which is never made, would be rows × inducing environments × 8 bytes.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from benchmarks.bench_fit import ERRORS, our_scores
from benchmarks.inputs import BUILD, parser
from benchmarks.machine import ROOT, write_result
from benchmarks.our_fit import run_our_fit
from benchmarks.table import table

ATOMS, TESTED = 64, 50
SETTINGS = """
[[descriptor]]
cutoff = 4.5
n_max = 8
l_max = 8
sigma = 0.5
radial_scale = "none"

[kernel]
zeta = 4

[noise]
energy = 0.002
energy_exponent = 0.5
forces = 0.01

[model]
method = "sparse"
n_inducing = {inducing}
features = "auto"
refine = false
memory = 16.0
time = 100000.0

[train]
stress = false
objective = "evidence"

[calibration]
method = "none"
"""
ESTIMATE = """
import json, sys, jax
jax.config.update("jax_enable_x64", True)
import gpjaxpot as gp
from gpjaxpot.potential.budget import estimate
found = estimate(gp.read(sys.argv[2]), gp.load_settings(sys.argv[1]))
print(json.dumps({"memory_GB": found.memory_bytes / 1e9, "seconds": found.seconds}))
"""


def copper(count: int, seed: int) -> list[Atoms]:
    """Displaced and strained copper with energies and forces."""
    generator, found = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = bulk("Cu", "fcc", a=3.6).repeat((4, 4, 4))
        atoms.set_cell(atoms.cell @ (np.eye(3) + generator.normal(scale=0.02, size=(3, 3))), scale_atoms=True)
        atoms.positions += generator.normal(scale=generator.uniform(0.02, 0.25), size=(ATOMS, 3))
        atoms.calc = EMT()
        atoms.get_forces()
        found.append(atoms)
    return found


def estimated(config: Path, train: Path) -> dict[str, Any]:
    """Memory and seconds that a process of its own expects."""
    command = [sys.executable, "-c", ESTIMATE, str(config), str(train)]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--components", type=int, default=500_000, help="force components, about")
    options.add_argument("--inducing", type=int, default=5000, help="inducing environments")
    options.add_argument("--name", default="streaming", help="of the file under results/")
    given = options.parse_args()
    folder = BUILD / "streaming"
    folder.mkdir(parents=True, exist_ok=True)
    config, train, test = (folder / name for name in ("config.toml", "train.xyz", "test.xyz"))
    model: Path = folder / "model.safetensors"
    config.write_text(SETTINGS.format(inducing=given.inducing))
    count = -(-given.components // (3 * ATOMS))
    ase.io.write(train, copper(count, 0), format="extxyz")
    ase.io.write(test, copper(TESTED, 1), format="extxyz")
    print(f"{count} structures; estimating, then fitting", flush=True)
    expected = estimated(config, train)
    record = run_our_fit(config, train, model, given.core)
    scores = our_scores(model, test)["errors"]
    errors = {key: scores[key] for key in ERRORS}
    rows = count * (1 + 3 * ATOMS)
    result = {
        "force_components": 3 * ATOMS * count,
        "inducing": given.inducing,
        "whole_matrix_GB": 8e-9 * rows * given.inducing,
        "estimate": expected,
        "fit": record,
        "peak_over_estimate": record["peak_memory_GB"] / expected["memory_GB"],
        "errors": errors,
    }
    lines = [
        ["force components", result["force_components"]],
        ["inducing environments", given.inducing],
        ["peak memory, GB", record["peak_memory_GB"]],
        ["estimated, GB", expected["memory_GB"]],
        ["K_fu in whole, GB", result["whole_matrix_GB"]],
        ["seconds", record["seconds"]],
        ["processor seconds", record["processor_seconds"]],
        ["test energy MAE, meV/atom", errors["energy_mae_meV_per_atom"]],
        ["test force MAE, eV/Å", errors["forces_mae_eV_per_A"]],
    ]
    print(table(["copper, streamed", ""], lines))
    print(f"wrote {write_result(given.name, result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
