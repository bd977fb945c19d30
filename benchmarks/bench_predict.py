"""Energies, forces and their standard deviations against quippy's GAP, in turn on one core.

python -m benchmarks.bench_predict [--data FOLDER] [--model OURS] [--gap-model GAP.xml]
                                   [--rounds 12]

Models that are not named are taken from the benchmark of the fit, or fitted first.  With --random no model and no peer
is needed: environments of displaced silicon with random weights, of the shapes that the config file asks for.  What a
prediction costs depends on the shapes alone.

Besides, the rate of the core in the kernel stage's matrix products, by NumPy's BLAS and by JAX, and the rate that the
kernel stage itself reaches.
"""

import contextlib
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from benchmarks.bench_fit import GAP, MODEL
from benchmarks.inputs import CONFIG, data_set, moved, parser, silicon
from benchmarks.machine import write_result
from benchmarks.our_fit import run_our_fit
from benchmarks.peers.gap_fit import run_gap_fit
from benchmarks.peers.quippy_process import QuippyProcess
from benchmarks.random_model import random_potential
from benchmarks.table import table
from benchmarks.timing import CLOCKS, alternate, per_atom, pin, ratios

if TYPE_CHECKING:
    from gpjaxpot import Potential

SKIN = 0.3
SPREADS = "E+F and σ of all forces, float64"


def models(given) -> tuple[Path, Path] | None:
    """Our model and GAP's; None where neither is there nor the data to make it of."""
    ours, gap = given.model or MODEL, given.gap_model or GAP / "gap.xml"
    if ours.exists() and gap.exists():
        return ours, gap
    folder = data_set(given.data, "Si_mlearn")
    if folder is None:
        return None
    if not ours.exists():
        run_our_fit(CONFIG, folder / "train.xyz", ours, given.core)
    if not gap.exists():
        run_gap_fit(tomllib.loads(CONFIG.read_text()), folder / "train.xyz", gap.parent, given.core)
    return ours, gap


def rival(potential: "Potential", atoms: Atoms, mode: str, clock: str, **options: Any) -> Callable[[], float]:
    """Seconds of one prediction of ours; `mode` says what is new in each call.

    "same": nothing but the call; "kept": the positions, within the skin of a neighbour list that is
    kept, as in molecular dynamics; "new": positions and neighbour list.
    """
    from gpjaxpot.potential.predictor import Neighbours

    now = CLOCKS[clock]
    generator = np.random.default_rng(0)
    kept = None if mode == "new" else Neighbours(potential.kernel, skin=SKIN)

    def run() -> float:
        shown = atoms if mode == "same" else moved(atoms, generator)
        start = now()
        potential.predict(shown, neighbours=kept, **options)
        return now() - start

    return run


def measure(
    potential: "Potential", quippy: QuippyProcess | None, atoms: Atoms, rounds: int, clock: str
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every rival on `atoms`, and of the first call of ours."""
    rivals = {
        "float64": rival(potential, atoms, "kept", clock),
        "float64, new neighbour list": rival(potential, atoms, "new", clock),
        "float64, same positions": rival(potential, atoms, "same", clock),
        "float32": rival(potential, atoms, "kept", clock, dtype="float32"),
    }
    if len(atoms) == 64 and quippy is not None:
        rivals[SPREADS] = rival(potential, atoms, "kept", clock, uncertainty=True)
    first = {name: run() for name, run in rivals.items()}
    if quippy is not None:
        rivals["quippy"] = lambda: quippy.seconds(atoms, clock)
    return alternate(rivals, rounds), first


def kernel_stage(potential: "Potential", atoms: int, rounds: int, clock: str) -> dict[str, dict[str, float]]:
    """GFLOP/s of the two matrix products of the kernel stage by themselves, and of the stage, in chunks."""
    import jax
    import jax.numpy as jnp

    from gpjaxpot.potential.centres import local_energies
    from gpjaxpot.potential.predictor import CHUNK

    now, found = CLOCKS[clock], {}
    generator = np.random.default_rng(0)
    for dtype in ("float64", "float32"):
        centres = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == "float64" else x, potential.centres)  # noqa: B023
        kernel = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == "float64" else x, potential.kernel)  # noqa: B023
        q = np.asarray(centres.features[0])
        p = generator.normal(size=(q.shape[0], CHUNK)).astype(dtype)
        w = generator.normal(size=(q.shape[1], CHUNK)).astype(dtype)
        p /= np.linalg.norm(p, axis=0)
        count, species = atoms // CHUNK, jnp.zeros(CHUNK, jnp.int32)

        def stage(centres, p, kernel=kernel, species=species, count=count):
            def one(shift):
                total = lambda f: jnp.sum(local_energies(kernel, centres, (f,), species))  # noqa: E731
                return jax.value_and_grad(total)(p + shift)

            return jax.lax.map(one, jnp.arange(count, dtype=p.dtype) * 1e-3)

        compiled, products = jax.jit(stage), jax.jit(lambda q, p, w: (q.T @ p, q @ w))
        here = [jnp.asarray(x) for x in (q, p, w)]
        work = {
            "NumPy": lambda q=q, p=p, w=w: [(q.T @ p, q @ w) for _ in range(atoms // CHUNK)],
            "JAX": lambda here=here: [jax.block_until_ready(products(*here)) for _ in range(atoms // CHUNK)],  # noqa: B023
            "kernel stage": lambda here=here, c=centres: jax.block_until_ready(compiled(c, here[1])),  # noqa: B023
        }

        def timed(function):
            def run() -> float:
                start = now()
                function()
                return now() - start

            return run

        seconds = alternate({name: timed(function) for name, function in work.items()}, rounds)
        flop = 4.0 * q.size * count * CHUNK
        found[dtype] = {name: flop / min(values) / 1e9 for name, values in seconds.items()}
        found[dtype]["share of NumPy's"] = found[dtype]["kernel stage"] / found[dtype]["NumPy"]
    return found


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--model", type=Path, help="a potential of ours")
    options.add_argument("--gap-model", type=Path, help="a GAP with the same hyperparameters")
    options.add_argument("--rounds", type=int, default=12, help="repeats, in turn")
    options.add_argument("--clock", default="wall", choices=CLOCKS, help="what is counted")
    options.add_argument("--name", default="predict", help="of the file in results/")
    options.add_argument("--random", action="store_true", help="random weights, and no quippy")
    options.add_argument("--features", type=int, help="of --random: project the vectors on as many directions")
    given = options.parse_args()
    found = None if given.random else models(given)
    if found is None and not given.random:
        return 0
    pin(given.core)
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    from gpjaxpot import Potential

    potential = random_potential(1000, given.features) if found is None else Potential.load(found[0])
    rates = kernel_stage(potential, 64, given.rounds, given.clock)
    print(table(["GFLOP/s, greatest", *rates["float64"]], [[k, *v.values()] for k, v in rates.items()]))
    rows, result = [], {}
    with contextlib.nullcontext() if found is None else QuippyProcess(found[1]) as quippy:
        for repeats, rounds in ((2, given.rounds), (4, max(3, given.rounds // 3))):
            atoms = silicon(repeats)
            print(f"{len(atoms)} atoms: compiling, then timing", flush=True)
            seconds, first = measure(potential, quippy, atoms, rounds, given.clock)
            peer = seconds.get("quippy")
            for name, values in seconds.items():
                each = per_atom(values, len(atoms))
                ratio = ratios(peer, values) if peer else {"min": None, "median": None}
                rows.append([len(atoms), name, each["min"], each["median"], ratio["min"],
                             ratio["median"], first.get(name)])  # fmt: skip
                result[f"{len(atoms)} atoms, {name}"] = {
                    "microseconds_per_atom": each,
                    "quippy_over_this": ratio,
                    "first_call_seconds": first.get(name),
                    "rounds": rounds,
                }
        program = "quippy" if quippy is None else quippy.program
    headings = ["atoms", "energy and forces", "µs/atom min", "median", f"{program} / this, min",
                "median", "first call s"]  # fmt: skip
    print(table(headings, rows))
    large, small = (result[f"{n} atoms, float64"]["microseconds_per_atom"] for n in (512, 64))
    growth = {key: large[key] / small[key] for key in small}
    goals = {"per atom, 512 over 64 atoms": growth}
    if quippy is not None:
        spread = result[f"64 atoms, {SPREADS}"]["quippy_over_this"]
        goals["64 atoms: with σ of all forces over quippy's E+F"] = {k: 1 / v for k, v in spread.items()}
    print(table(["ratio", "min", "median"], [[k, v["min"], v["median"]] for k, v in goals.items()]))
    made = f"random weights, {potential.kernel.terms[0].descriptor.n_features} features" if given.random else "fitted"
    answer = {"peer": None if given.random else program, "model": made, "clock": given.clock, "skin": SKIN,
              "matrix_products_GFLOPs": rates, "times": result, "ratios": goals}  # fmt: skip
    print(f"wrote {write_result(given.name, answer)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
