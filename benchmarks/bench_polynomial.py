"""Kernels of ζ = 2 on silicon: the exact posterior of all data, and predictions that do not depend on their number.

python -m benchmarks.bench_polynomial [--data FOLDER] [--structures 100] [--features 60 90] [--rounds 12]
                                      [--clock processor]

Descriptor, labels, noise levels and signal variance are those of speed/silicon_reference.toml; vectors are projected on
so many components.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_accuracy import ERRORS
from benchmarks.inputs import BUILD, CONFIG, data_set, moved, parser, silicon
from benchmarks.machine import ROOT, write_result
from benchmarks.table import table
from benchmarks.timing import CLOCKS, alternate, per_atom, pin, ratios, run_alone

PLAIN = ["model.refine=false", "calibration.method=none", "noise.by_group=false", "train.search=false"]
KINDS = {
    "ζ = 4, M = 1000": ["kernel.zeta=4"],
    "ζ = 2, exact": ["kernel.zeta=2", "model.selection=span", "model.n_inducing=auto"],
}
SKIN = 0.5
# Structures of the fits whose predictions are timed: enough environments for M = 1000.
PREDICTED_WITH = 25
FIT = """
import json, resource, sys, time, jax
jax.config.update("jax_enable_x64", True)
import gpjaxpot as gp
from benchmarks.bench_accuracy import subset
config, folder, structures, settings, tested, out = sys.argv[1:]
frames = subset(gp.read(folder + "/train.xyz"), int(structures))
start, worked = time.perf_counter(), time.process_time()
potential = gp.fit(frames, settings=gp.load_settings(config, json.loads(settings)))
record = {
    "fit_seconds": time.perf_counter() - start,
    "fit_processor_seconds": time.process_time() - worked,
    "peak_memory_GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    "scores": gp.evaluate(potential, gp.read(folder + "/test.xyz")) if tested else None,
    "summary": potential.summary(),
}
potential.save(out + ".safetensors")
open(out + ".json", "w").write(json.dumps(record, default=float))
"""


def fitted(
    folder: Path, structures: int, settings: list[str], name: str, given, tested: bool = True
) -> tuple[Path, dict[str, Any]]:
    """Fits in a process of its own; the model file, and what the fit and the test say."""
    out = BUILD / "polynomial" / f"{name}_{structures}"
    out.parent.mkdir(parents=True, exist_ok=True)
    model, record = out.with_suffix(".safetensors"), out.with_suffix(".json")
    if given.reuse and model.exists() and record.exists():
        return model, json.loads(record.read_text())
    words = [str(CONFIG), str(folder), str(structures), json.dumps(settings), "tested" * tested, str(out)]
    run_alone([sys.executable, "-c", FIT, *words], ROOT, given.core)
    return model, json.loads(record.read_text())


def posteriors(folder: Path, given) -> dict[str, Any]:
    """Fits of each kind with each number of components."""
    found = {}
    for d in given.features:
        for kind, settings in KINDS.items():
            print(f"fitting {kind}, {d} components", flush=True)
            wanted = [*settings, *PLAIN, f"model.features={d}"]
            name = f"{kind.replace(' ', '').replace(',', '_')}_{d}"
            _, record = fitted(folder, given.structures, wanted, name, given)
            scores, summary = record.pop("scores"), record.pop("summary")
            spread = {key: scores["uncertainty"][key]["z_variance"] for key in ("energy", "forces")}
            found[f"{d} components, {kind}"] = {
                **record,
                "n_inducing": summary["n_inducing"],
                **{key: scores[key] for key in ERRORS if scores.get(key) is not None},
                "z_variance": spread,
                "log_marginal_likelihood": summary["log_marginal_likelihood"],
            }
    return found


def predictors(folder: Path, given) -> dict[str, Path]:
    """Models of ζ = 2 with 1000 inducing environments, on whole and on compressed vectors."""
    found = {}
    for name, features in (("whole", "all"), ("compressed", 90)):
        print(f"fitting for predictions, vectors {name}", flush=True)
        settings = ["kernel.zeta=2", *PLAIN, f"model.features={features}"]
        found[name], _ = fitted(folder, PREDICTED_WITH, settings, f"predict_{name}", given, tested=False)
    return found


def predictions(models: dict[str, Path], given) -> dict[str, Any]:
    """Energies and forces of 64 atoms by the sum over the environments and by the polynomial, in turn."""
    import jax

    from gpjaxpot import Potential
    from gpjaxpot.potential.collapsed import Collapsed
    from gpjaxpot.potential.potential import as_structure, single
    from gpjaxpot.potential.predictor import Neighbours, evaluate

    found = {}
    for name, model in models.items():
        potential, now = Potential.load(model), CLOCKS[given.clock]
        atoms = silicon(2)
        means = {"sum": potential.centres, "polynomial": Collapsed.make(potential.kernel, potential.centres)}

        def rival(mean, cast, potential=potential, atoms=atoms, now=now) -> Callable[[], float]:
            neighbours, generator = Neighbours(potential.kernel, SKIN), np.random.default_rng(0)
            kernel, mean = cast((potential.kernel, mean))

            def run() -> float:
                batch = cast(neighbours.batch(as_structure(moved(atoms, generator))))
                start = now()
                jax.block_until_ready(evaluate(kernel, mean, batch))
                return now() - start

            return run

        rivals = {
            f"{kind}, {dtype}": rival(mean, cast)
            for dtype, cast in (("float64", lambda x: x), ("float32", single))
            for kind, mean in means.items()
        }
        seconds = alternate(rivals, given.rounds)
        batch = Neighbours(potential.kernel).batch(as_structure(atoms))
        exact = evaluate(potential.kernel, means["sum"], batch)
        entry: dict[str, Any] = {"largest_weight": float(np.abs(potential.centres.values).max())}
        for dtype in ("float64", "float32"):
            plain, ours = seconds[f"sum, {dtype}"], seconds[f"polynomial, {dtype}"]
            apart = {}
            for kind, mean in means.items():
                arguments = (potential.kernel, mean, batch)
                made = evaluate(*(arguments if dtype == "float64" else single(arguments)))
                apart[kind] = {
                    "energy_eV": float(abs(np.sum(np.asarray(made.energies, float)) - np.sum(exact.energies))),
                    "forces_eV_per_A": float(np.abs(np.asarray(made.forces, float) - exact.forces).max()),
                }
            entry[dtype] = {
                "sum_microseconds_per_atom": per_atom(plain, len(atoms)),
                "polynomial_microseconds_per_atom": per_atom(ours, len(atoms)),
                "sum_over_polynomial": ratios(plain, ours),
                "from_the_sum_in_float64": apart,
            }
        found[f"{name}, {potential.kernel.terms[0].descriptor.n_features} components"] = entry
    return found


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--structures", type=int, default=100, help="training structures")
    options.add_argument("--features", type=int, nargs="*", default=[60, 90], help="components of the vectors")
    options.add_argument("--reuse", action="store_true", help="take fits that an earlier run left in build/")
    options.add_argument("--rounds", type=int, default=12, help="repeats, in turn")
    options.add_argument("--clock", default="wall", choices=CLOCKS, help="what predictions are timed by")
    given = options.parse_args()
    folder = data_set(given.data, "Si_mlearn")
    if folder is None:
        return 0
    # All fits, in processes of their own, before JAX starts threads in this one.
    models = predictors(folder, given)
    fits = posteriors(folder, given)
    pin(given.core)
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    speed = predictions(models, given)
    rows = [
        [name, dtype, *entry[dtype]["sum_microseconds_per_atom"].values(),
         *entry[dtype]["polynomial_microseconds_per_atom"].values(), *entry[dtype]["sum_over_polynomial"].values()]
        for name, entry in speed.items() for dtype in ("float64", "float32")
    ]  # fmt: skip
    print(table(["64 atoms", "", "sum µs/atom min", "median", "polynomial min", "median", "ratio min", "median"], rows))
    keys = ("n_inducing", "fit_seconds", "fit_processor_seconds", "peak_memory_GB", *ERRORS[:4])
    print(table(["", *keys], [[name, *(entry[key] for key in keys)] for name, entry in fits.items()]))
    answer = {"clock": given.clock, "structures": given.structures, "predictions": speed, "posteriors": fits}
    print(f"wrote {write_result('polynomial', answer)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
