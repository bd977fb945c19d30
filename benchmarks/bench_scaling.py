"""Times and memory against atoms, inducing environments, features and training structures, with a figure.

python -m benchmarks.bench_scaling [--data FOLDER] [--repeats 2 4 8 11] [--inducing 250 1000 4000] [--structures 25 100]
                                   [--fit-inducing 1000] [--name scaling]

On an accelerator where JAX sees one, else on one core; larger systems are then taken.  Predictions are those of the
reference model's shapes with random weights.  "program" is the compiled program alone, on positions that lie on the
device; "call" is what a person waits for, from positions in NumPy to forces in NumPy, with the neighbour list kept.
"""

import argparse
import dataclasses
import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.inputs import CONFIG, data_set, moved, parser, silicon
from benchmarks.machine import RESULTS, write_result
from benchmarks.random_model import random_potential
from benchmarks.table import table
from benchmarks.timing import pin

if TYPE_CHECKING:
    from gpjaxpot import Potential

# Of the cubic cell of eight atoms.
REPEATS = {"cpu": (2, 4, 6, 8, 11), "other": (11, 24, 36, 50)}
MIDDLE = {"cpu": 6, "other": 24}
INDUCING = (250, 500, 1000, 2000, 4000)
FEATURES = (40, 80, 160, 324)
DTYPES = ("float64", "float32")
SKIN = 0.5


def least(run: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Seconds of the first call, and the least of `rounds` later ones."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds[0], min(seconds[1:])


def peak_memory() -> float | None:
    """Most bytes (GB) that the device had in use so far; None where it does not say."""
    import jax

    stats = jax.local_devices()[0].memory_stats()
    return None if not stats else stats["peak_bytes_in_use"] / 1e9


def timed_program(potential: "Potential", batch: Any, dtype: str, rounds: int) -> tuple[float, float]:
    """As `least`, of the compiled program of energies, forces and stress: all that it takes lies on the device.

    Positions are new each time.
    """
    import jax
    import jax.numpy as jnp

    from gpjaxpot.potential.predictor import evaluate, single

    model = potential.kernel, potential.mean
    kernel, mean = jax.device_put(single(model) if dtype == "float32" else model)
    positions, seconds = batch.positions, []
    for step in range(rounds + 1):
        here = jax.block_until_ready(positions + 1e-4 * jnp.sin(jnp.arange(positions.size) + step).reshape(-1, 3))
        start = time.perf_counter()
        jax.block_until_ready(evaluate(kernel, mean, dataclasses.replace(batch, positions=here)))
        seconds.append(time.perf_counter() - start)
    return seconds[0], min(seconds[1:])


def by_atoms(repeats: list[int], rounds: int) -> list[dict[str, Any]]:
    """Energies and forces of larger and larger silicon."""
    from gpjaxpot import Structure
    from gpjaxpot.potential.predictor import Neighbours

    potential, found = random_potential(1000), []
    generator = np.random.default_rng(0)
    for n in repeats:
        atoms = silicon(n)
        listed, structure = Neighbours(potential.kernel, skin=SKIN), Structure.from_ase(atoms)
        start = time.perf_counter()
        batch = listed.batch(structure)
        one = {"atoms": len(atoms), "slots": sum(batch.slots), "list_seconds": time.perf_counter() - start}
        for dtype in DTYPES:
            compiled, seconds = timed_program(potential, batch, dtype, rounds)
            one[f"{dtype} program"] = seconds / len(atoms) * 1e6
            one[f"{dtype} first_seconds"] = compiled
            shown = itertools.cycle([moved(atoms, generator) for _ in range(2)])

            def call(dtype=dtype, shown=shown, listed=listed):
                potential.predict(next(shown), neighbours=listed, dtype=dtype)

            one[f"{dtype} call"] = least(call, rounds)[1] / len(atoms) * 1e6
            one[f"{dtype} peak_GB"] = peak_memory()
        print(one, flush=True)
        found.append(one)
    return found


def by_size(repeats: int, rounds: int, models: dict[int, "Potential"]) -> list[dict[str, Any]]:
    """Energies and forces of one system, by models of several sizes."""
    from gpjaxpot import Structure
    from gpjaxpot.potential.predictor import Neighbours

    structure, found = Structure.from_ase(silicon(repeats)), []
    for size, potential in models.items():
        batch = Neighbours(potential.kernel, skin=SKIN).batch(structure)
        one: dict[str, Any] = {"size": size, "atoms": len(structure)}
        for dtype in DTYPES:
            one[f"{dtype} program"] = timed_program(potential, batch, dtype, rounds)[1] / len(structure) * 1e6
        print(one, flush=True)
        found.append(one)
    return found


def by_structures(folder: Path, counts: list[int], inducing: int) -> list[dict[str, Any]]:
    """Fits of more and more structures: the second of a process, which compiles nothing."""
    import jax

    import gpjaxpot as gp

    settings = gp.load_settings(CONFIG)
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"n_inducing": inducing})})
    frames, found = gp.read(folder / "train.xyz"), []
    atoms = silicon(4)
    for count in sorted({min(c, len(frames)) for c in counts}):
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            potential = gp.fit(frames[:count], settings=settings)
            seconds.append(time.perf_counter() - start)
        result = gp.evaluate(potential, gp.read(folder / "test.xyz"))
        spread = least(lambda p=potential: p.predict(atoms, uncertainty=True), 2)  # type: ignore[misc]
        found.append({
            "structures": count, "inducing": len(potential.model.inducing), "first_seconds": seconds[0],
            "seconds": seconds[1], "energy_mae_meV_per_atom": result["energy_mae_meV_per_atom"],
            "forces_mae_eV_per_A": result["forces_mae_eV_per_A"], "peak_GB": peak_memory(),
            f"{len(atoms)} atoms with σ": spread[1] / len(atoms) * 1e6,
        })  # fmt: skip
        print(found[-1], flush=True)
        jax.clear_caches()
    return found


def slope(x: list[float], y: list[float]) -> float:
    """Exponent of the power law through the points."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw(result: dict[str, Any], path: Path) -> Path | None:
    """Times against what they depend on, a panel for each that has two points; None where nothing has."""
    from gpjaxpot.plots.style import finish, legend, line, new_figure, plain_numbers

    panels = []
    for key, label in (("atoms", "atoms"), ("inducing", "inducing environments"), ("features", "features")):
        rows = result.get(key) or []
        x = [row["atoms" if key == "atoms" else "size"] for row in rows]
        if len(x) > 1:
            y = {d: [row[f"{d} program"] * row["atoms"] * 1e-3 for row in rows] for d in DTYPES}
            panels.append((label, "E + F (ms)", x, y))
    if len(result.get("structures") or []) > 1:
        rows = result["structures"]
        panels.append(("training structures", "fit (s)", [row["structures"] for row in rows],
                       {"float64": [row["seconds"] for row in rows]}))  # fmt: skip
    if not panels:
        return None
    figure = new_figure(2.9 * len(panels), 2.9)
    for place, (label, what, x, curves) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for k, (name, y) in enumerate(curves.items()):
            axes.plot(x, y, label=f"{name}, slope {slope(x, y):.2f}", ms=4, **line(k, marker=True))
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel=what)
        axes.set_xticks(x, [f"{v:g}" for v in x])
        axes.set_xticks([], minor=True)
        low, high = min(min(y) for y in curves.values()), max(max(y) for y in curves.values())
        axes.set_ylim(0.8 * low, 2.0 * high)  # room for the legend
        plain_numbers(axes.yaxis)
        legend(axes)
    finish(figure).savefig(path, dpi=150)
    return path


def arguments() -> argparse.Namespace:
    """The command line's options."""
    options = parser(__doc__)
    options.add_argument("--repeats", nargs="*", type=int, help="of the cell of eight atoms")
    options.add_argument("--inducing", nargs="*", type=int, default=INDUCING, help="inducing environments")
    options.add_argument("--features", nargs="*", type=int, default=FEATURES, help="lengths of the vectors")
    options.add_argument("--structures", nargs="*", type=int, default=(25, 50, 100, 200), help="of the fits")
    options.add_argument("--fit-inducing", type=int, default=1000, help="inducing environments of the fits")
    options.add_argument("--rounds", type=int, default=4, help="repeats, of which the least counts")
    options.add_argument("--name", default="scaling", help="of the files in results/")
    return options.parse_args()


def main() -> int:
    """The command line of this module."""
    given = arguments()
    if os.environ.get("JAX_PLATFORMS") == "cpu" or not any(Path("/dev").glob("nvidia*")):
        pin(given.core)  # before JAX is imported
    import jax

    jax.config.update("jax_enable_x64", True)
    device = jax.devices()[0]
    kind = "cpu" if device.platform == "cpu" else "other"
    result: dict[str, Any] = {"device": device.device_kind}

    def keep(key: str, value: list[dict[str, Any]]) -> None:
        """Keeps what is measured so far: a run that is cut off has told it."""
        result[key] = value
        write_result(given.name, result)

    keep("atoms", by_atoms(list(given.repeats if given.repeats is not None else REPEATS[kind]), given.rounds))
    keep("inducing", by_size(MIDDLE[kind], given.rounds, {m: random_potential(m) for m in given.inducing}))
    features = {f: random_potential(1000, None if f == 324 else f) for f in given.features}
    keep("features", by_size(MIDDLE[kind], given.rounds, features))
    folder = data_set(given.data, "Si_mlearn") if given.structures else None
    if folder is not None:
        keep("structures", by_structures(folder, list(given.structures), given.fit_inducing))
    for key in ("atoms", "inducing", "features", "structures"):
        rows = [{k: v for k, v in row.items() if v is not None} for row in result.get(key) or []]
        if rows:
            print(table(list(rows[0]), [list(row.values()) for row in rows]))
    rows = result["atoms"]
    if len(rows) > 1:
        x = [float(row["atoms"]) for row in rows]
        result["slopes"] = {
            f"{d} {what}": slope(x, [row[f"{d} {what}"] * n for row, n in zip(rows, x, strict=True)])
            for d in DTYPES
            for what in ("program", "call")
        }
        print("slopes with the number of atoms:", result["slopes"])
    print(f"wrote {write_result(given.name, result)}")
    figure = draw(result, RESULTS / f"{given.name}.png")
    if figure is not None:
        print(f"wrote {figure}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
