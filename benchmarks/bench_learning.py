"""Test errors of fits without configuration against the number of training structures, as a table and a figure.

python -m benchmarks.bench_learning [--data FOLDER] [--sets Si_mlearn] [--sizes 10 25 50 100 1000] [--seconds 400]
"""

import sys
from pathlib import Path

from benchmarks.bench_accuracy import train_and_test
from benchmarks.inputs import data_sets, parser
from benchmarks.machine import write_result
from benchmarks.table import table

FIGURES = Path(__file__).parent / "results"


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--sets", nargs="+", default=("Si_mlearn",), metavar="NAME", help="data sets")
    options.add_argument("--sizes", nargs="+", type=int, default=(10, 25, 50, 100, 1000), help="structures, at most")
    options.add_argument("--test-structures", type=int, default=200, help="test structures at most")
    options.add_argument("--seconds", type=float, default=400.0, help="that a fit may take")
    given = options.parse_args()
    import jax

    jax.config.update("jax_enable_x64", True)
    rows, result, written = [], {}, None
    for name, folder in data_sets(given.data, given.sets):
        result[name] = []
        for size in given.sizes:
            jax.clear_caches()  # the programs of all sizes together run into the limit of memory maps
            one = train_and_test(folder, size, given.test_structures, given.seconds)
            result[name].append(one)
            errors = one["energy_mae_meV_per_atom"], one["forces_mae_eV_per_A"]
            rows.append([name, one["n_train"], one["n_inducing"] or one["method"], *errors, one["fit_seconds"]])
            print(f"{name}: {one['n_train']} structures in {one['fit_seconds']:.0f} s", flush=True)
            written = write_result("learning", {"limits": vars(given), "sets": result})
    if not rows:
        return 0
    print(table(["set", "structures", "inducing", "E MAE meV/atom", "F MAE eV/Å", "fit s"], rows))
    for path in draw(result):
        print(f"wrote {path}")
    print(f"wrote {written}")
    return 0


def draw(result: dict[str, list[dict]]) -> list[Path]:
    """Figures of energy and force errors, a line for each set."""
    import numpy as np

    from gpjaxpot.plots.learning import learning_curve

    paths = []
    for key, quantity, unit in (
        ("energy_mae_meV_per_atom", "energy MAE", "meV/atom"),
        ("forces_mae_eV_per_A", "force MAE", "eV/Å"),
    ):
        sizes = np.array(sorted({one["n_train"] for ones in result.values() for one in ones}), float)
        curves = {
            name: np.array([by_size.get(int(n), np.nan) for n in sizes])
            for name, ones in result.items()
            for by_size in [{one["n_train"]: one[key] for one in ones}]
        }
        path = FIGURES / f"learning_{quantity.split()[0]}.png"
        learning_curve(sizes, curves, quantity, unit).savefig(path, dpi=150)
        paths.append(path)
    return paths


if __name__ == "__main__":
    sys.exit(main())
