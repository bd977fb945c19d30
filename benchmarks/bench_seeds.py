"""How far test errors of fits without configuration depend on the seed of their random choices.

python -m benchmarks.bench_seeds [--data FOLDER] [--set Si_mlearn] [--structures 100] [--seeds 10] [--seconds 300]
"""

import sys

import numpy as np

from benchmarks.bench_accuracy import train_and_test
from benchmarks.inputs import data_sets, parser
from benchmarks.machine import write_result
from benchmarks.table import table

KEYS = {"energy_mae_meV_per_atom": "E MAE meV/atom", "forces_mae_eV_per_A": "F MAE eV/Å"}


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--set", default="Si_mlearn", metavar="NAME", help="data set")
    options.add_argument("--structures", type=int, default=100, help="training structures, the same for all seeds")
    options.add_argument("--test-structures", type=int, default=200, help="test structures at most")
    options.add_argument("--seeds", type=int, default=10, help="0, 1, and so on: of sample, inducing, left out")
    options.add_argument("--seconds", type=float, default=300.0, help="that a fit may take")
    given = options.parse_args()
    import jax

    jax.config.update("jax_enable_x64", True)
    rows, fits, spread, written = [], [], {}, None
    for name, folder in data_sets(given.data, [given.set]):
        for seed in range(given.seeds):
            jax.clear_caches()  # the programs of all fits together run into the limit of memory maps
            one = train_and_test(folder, given.structures, given.test_structures, given.seconds, seed)
            fits.append(one)
            rows.append([name, seed, one["n_inducing"], *(one[key] for key in KEYS), one["fit_seconds"]])
            print(f"{name}: seed {seed} in {one['fit_seconds']:.0f} s", flush=True)
            spread = {key: _spread([fit[key] for fit in fits]) for key in KEYS}
            written = write_result("seeds", {"limits": vars(given), "fits": fits, "spread": spread})
    if not rows:
        return 0
    print(table(["set", "seed", "inducing", *KEYS.values(), "fit s"], rows))
    for key, label in KEYS.items():
        mean = np.mean([fit[key] for fit in fits])
        print(f"{label}: mean {mean:.4g}, largest distance from it {100 * spread[key]:.1f} %")
    print(f"wrote {written}")
    return 0


def _spread(values: list[float]) -> float:
    """The largest distance from the mean, as a share of it."""
    found = np.array(values)
    return float(np.max(np.abs(found / found.mean() - 1.0)))


if __name__ == "__main__":
    sys.exit(main())
