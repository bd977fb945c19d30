"""Energies, forces and their standard deviations against quippy's GAP, in turn on one core.

python -m benchmarks.bench_predict [--data FOLDER] [--model OURS] [--gap-model GAP.xml]
                                   [--rounds 12]

Models that are not named are taken from the benchmark of the fit, or fitted first.
"""

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
from benchmarks.table import table
from benchmarks.timing import CLOCKS, alternate, per_atom, pin, ratios

if TYPE_CHECKING:
    from gpjaxpot import Potential

SKIN = 0.5
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
    potential: "Potential", quippy: QuippyProcess, atoms: Atoms, rounds: int, clock: str
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of every rival on `atoms`, and of the first call of ours."""
    rivals = {
        "float64": rival(potential, atoms, "kept", clock),
        "float64, new neighbour list": rival(potential, atoms, "new", clock),
        "float64, same positions": rival(potential, atoms, "same", clock),
        "float32": rival(potential, atoms, "kept", clock, dtype="float32"),
    }
    if len(atoms) == 64:
        rivals[SPREADS] = rival(potential, atoms, "kept", clock, uncertainty=True)
    first = {name: run() for name, run in rivals.items()}
    rivals["quippy"] = lambda: quippy.seconds(atoms, clock)
    return alternate(rivals, rounds), first


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--model", type=Path, help="a potential of ours")
    options.add_argument("--gap-model", type=Path, help="a GAP with the same hyperparameters")
    options.add_argument("--rounds", type=int, default=12, help="repeats, in turn")
    options.add_argument("--clock", default="wall", choices=CLOCKS, help="what is counted")
    options.add_argument("--name", default="predict", help="of the file in results/")
    given = options.parse_args()
    found = models(given)
    if found is None:
        return 0
    pin(given.core)
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    from gpjaxpot import Potential

    potential = Potential.load(found[0])
    rows, result = [], {}
    with QuippyProcess(found[1]) as quippy:
        for repeats, rounds in ((2, given.rounds), (4, max(3, given.rounds // 3))):
            atoms = silicon(repeats)
            print(f"{len(atoms)} atoms: compiling, then timing", flush=True)
            seconds, first = measure(potential, quippy, atoms, rounds, given.clock)
            peer = seconds["quippy"]
            for name, values in seconds.items():
                each, ratio = per_atom(values, len(atoms)), ratios(peer, values)
                rows.append([len(atoms), name, each["min"], each["median"], ratio["min"],
                             ratio["median"], first.get(name)])  # fmt: skip
                result[f"{len(atoms)} atoms, {name}"] = {
                    "microseconds_per_atom": each,
                    "quippy_over_this": ratio,
                    "first_call_seconds": first.get(name),
                    "rounds": rounds,
                }
        program = quippy.program
    headings = ["atoms", "energy and forces", "µs/atom min", "median", f"{program} / this, min",
                "median", "first call s"]  # fmt: skip
    print(table(headings, rows))
    large, small = (result[f"{n} atoms, float64"]["microseconds_per_atom"] for n in (512, 64))
    growth = {key: large[key] / small[key] for key in small}
    spread = result[f"64 atoms, {SPREADS}"]["quippy_over_this"]
    goals = {
        "per atom, 512 over 64 atoms": growth,
        "64 atoms: with σ of all forces over quippy's E+F": {k: 1 / v for k, v in spread.items()},
    }
    print(table(["ratio", "min", "median"], [[k, v["min"], v["median"]] for k, v in goals.items()]))
    answer = {"peer": program, "clock": given.clock, "skin": SKIN, "times": result, "ratios": goals}
    print(f"wrote {write_result(given.name, answer)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
