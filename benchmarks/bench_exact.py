"""The exact posterior of 50 frames of acetylacetone: time, memory, and its variance by the textbook.

python -m benchmarks.bench_exact [--data FOLDER] [--structures 50] [--test-structures 3]

The textbook's variance is k** − k* (K + Σ)⁻¹ k*ᵀ with all covariances at once, solved by LU; that of the
package goes through its Cholesky factor, batch by batch and atom by atom.
"""

import resource
import sys
import time

import numpy as np

from benchmarks.bench_accuracy import subset
from benchmarks.inputs import data_set, parser
from benchmarks.machine import write_result
from benchmarks.table import table

SETTINGS = ["model.method=exact", "train.stress=false", "noise.forces=0.02"]


def textbook(potential, frames, tested) -> tuple[np.ndarray, np.ndarray]:
    """Prior and posterior variances of [E | F] of the tested structures, one after the other."""
    from gpjaxpot.potential.exact_fit import dense_covariance
    from gpjaxpot.potential.training import collect

    both = [*frames, *tested]
    data = collect(both, potential.reference, potential.noise, (True, True, False))
    full = dense_covariance(potential.kernel, [f.structure for f in both], data, lambda *_: None)
    sigma = np.concatenate([o.sigma for o in data[: len(frames)]])
    known = len(sigma)
    cross, prior = full[known:, :known], np.diagonal(full)[known:]
    solved = np.linalg.solve(full[:known, :known] + np.diag(sigma**2), cross.T)
    return prior, prior - np.sum(cross.T * solved, axis=0)


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--structures", type=int, default=50, help="training structures")
    options.add_argument("--test-structures", type=int, default=3, help="whose variances are compared")
    given = options.parse_args()
    folder = data_set(given.data, "acac")
    if folder is None:
        return 0
    import jax

    jax.config.update("jax_enable_x64", True)
    import gpjaxpot as gp

    frames = subset(gp.read(folder / "train.xyz"), given.structures)
    test = gp.read(folder / "test.xyz")
    start = time.perf_counter()
    potential = gp.fit(frames, settings=gp.load_settings(None, SETTINGS))
    seconds = time.perf_counter() - start
    scores = gp.evaluate(potential, subset(test, 50), uncertainty=False)
    tested = subset(test, given.test_structures)
    prior, expected = textbook(potential, frames, tested)
    found = []
    for p in (potential.predict(f, uncertainty=True) for f in tested):
        found += [p.energy_epistemic_std**2, *(p.forces_epistemic_std**2).ravel()]
    difference = float(np.max(np.abs(np.array(found) - expected) / prior))
    summary = potential.summary()
    result = {
        "n_observations": summary["n_observations"],
        "jitter": summary["jitter"],
        "fit_seconds": seconds,
        "peak_memory_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "largest_difference_of_variances_over_prior": difference,
        "least_variance_over_prior": float(np.min(expected / prior)),
        **{k: v for k, v in scores.items() if isinstance(v, float)},
    }
    print(table(["acac, exact", "value"], [[k, v] for k, v in result.items() if not isinstance(v, dict)]))
    print(f"wrote {write_result('exact', result)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
