"""SOAP and its derivatives against DScribe and featomic, in turn on one core.

python -m benchmarks.bench_descriptor [--rounds 12]

Both compute the same vectors (DScribe's form, rbf="gto"), neighbour lists included. DScribe's
derivatives are dense over all pairs of atoms and are analytical; ours are those by each neighbour.
The gradient of a function of the vectors, which is what forces take, DScribe has only by way of its
derivatives.

featomic (`pip install featomic`; left out where it is not installed) has another radial basis of the same size and
its own cutoff function, so the vectors differ; it sees neighbours to the cutoff alone, as ours do in the usual form,
which is compared with it: vectors of unit length, with their derivatives by position.
"""

import importlib.util
import sys
from collections.abc import Callable

import numpy as np
from ase import Atoms
from ase.build import molecule

from benchmarks.inputs import moved, parser, silicon
from benchmarks.machine import write_result
from benchmarks.table import table
from benchmarks.timing import CLOCKS, alternate, per_atom, pin, ratios

SETTINGS = {"r_cut": 5.0, "n_max": 8, "l_max": 6, "sigma": 0.5}


def systems() -> dict[str, Atoms]:
    """Silicon, and a molecule of three species: acetic acid twice, hydrogen-bonded or nearly so."""
    acid, other = molecule("CH3COOH"), molecule("CH3COOH")
    other.positions += [3.0, 2.0, 1.0]
    return {"silicon": silicon(2), "C, H, O": acid + other}


def timed(atoms: Atoms, work: Callable[[Atoms], object], clock: str) -> Callable[[], float]:
    """Seconds of `work` on the atoms, moved before each call."""
    now = CLOCKS[clock]
    generator = np.random.default_rng(0)

    def run() -> float:
        shown = moved(atoms, generator)
        start = now()
        work(shown)
        return now() - start

    return run


def our_work(atoms: Atoms, dscribe: bool = True) -> dict[str, Callable[[Atoms], object]]:
    """Our vectors, their Jacobian, and the gradient of a linear function of them."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    from gpjaxpot import SOAP, Structure
    from gpjaxpot.descriptors.staged import expand, jacobian, pullback
    from gpjaxpot.structures.batch import collate, neighbourhood

    species = tuple(sorted(set(atoms.numbers.tolist())))
    soap = SOAP(
        SETTINGS["r_cut"], SETTINGS["n_max"], SETTINGS["l_max"], SETTINGS["sigma"],
        species=species, dscribe=dscribe,
    )  # fmt: skip
    # One shape for all positions: room for a few neighbours more than there are now.
    most = neighbourhood(Structure.from_ase(atoms), species, soap.reach).most_neighbours(len(species))
    slots = tuple(-(-(count + 2) // 4) * 4 for count in most)
    direction = jax.random.normal(jax.random.key(0), (soap.n_features, 1))

    def parts(batch):
        return expand(soap, batch.displacements(), batch.mask, batch.species, batch.slots, written_out=True)

    def gradient(batch):
        made = parts(batch)
        along = jnp.broadcast_to(direction, made.features.shape)
        return batch.gather_forces(pullback(soap, made, along, batch.slots))

    functions = {
        "vectors": lambda batch: parts(batch).features,
        "derivatives": lambda batch: jacobian(soap, parts(batch), batch.slots),
        "gradient": gradient,
    }

    def work(function) -> Callable[[Atoms], object]:
        compiled = eqx.filter_jit(function)

        def run(shown: Atoms) -> object:
            found = neighbourhood(Structure.from_ase(shown), species, soap.reach)
            batch = collate([found], len(species), slots=slots, atoms=len(shown))
            return compiled(batch).block_until_ready()

        return run

    return {name: work(function) for name, function in functions.items()}


def their_work(atoms: Atoms) -> dict[str, Callable[[Atoms], object]]:
    """DScribe's vectors and analytical derivatives."""
    from dscribe.descriptors import SOAP

    species = sorted(set(atoms.get_chemical_symbols()))
    soap = SOAP(**SETTINGS, rbf="gto", species=species, periodic=bool(atoms.pbc.any()))
    centres = list(range(len(atoms)))

    def derivatives(shown: Atoms) -> object:
        return soap.derivatives(shown, centers=centres, method="analytical", attach=True, return_descriptor=False)

    return {"vectors": lambda shown: soap.create(shown, n_jobs=1), "derivatives": derivatives}


def featomic_work() -> dict[str, Callable[[Atoms], object]]:
    """Those of featomic: vectors, and vectors with their derivatives by position."""
    from featomic import SoapPowerSpectrum

    soap = SoapPowerSpectrum(
        cutoff={"radius": SETTINGS["r_cut"], "smoothing": {"type": "ShiftedCosine", "width": 1.0}},
        density={"type": "Gaussian", "width": SETTINGS["sigma"]},
        basis={
            "type": "TensorProduct",
            "max_angular": SETTINGS["l_max"],
            "radial": {"type": "Gto", "max_radial": SETTINGS["n_max"] - 1},
        },
    )
    return {"vectors": soap.compute, "derivatives": lambda shown: soap.compute(shown, gradients=["positions"])}


def beside_featomic(rounds: int, clock: str) -> dict[str, dict]:
    """Microseconds per atom of ours in the usual form and of featomic; nothing where it is not installed."""
    if importlib.util.find_spec("featomic") is None:
        print("featomic: left out, it is not installed (pip install featomic)")
        return {}
    found = {}
    for name, atoms in systems().items():
        for what in ("vectors", "derivatives"):
            rivals = {
                "gpjaxpot": timed(atoms, our_work(atoms, dscribe=False)[what], clock),
                "featomic": timed(atoms, featomic_work()[what], clock),
            }
            seconds = alternate(rivals, rounds)
            found[f"{name}, {len(atoms)} atoms: {what}"] = {
                "microseconds_per_atom": {key: per_atom(values, len(atoms)) for key, values in seconds.items()},
                "featomic_over_gpjaxpot": ratios(seconds["featomic"], seconds["gpjaxpot"]),
            }
    return found


def cases() -> dict[str, tuple[Atoms, str]]:
    """Name: (atoms, what is computed). DScribe has derivatives of clusters only."""
    found = {}
    for name, atoms in systems().items():
        cluster = atoms.copy()
        cluster.pbc = False
        found[f"{name}, {len(atoms)} atoms: vectors"] = (atoms, "vectors")
        label = f"{name}, {len(atoms)} atoms{', not periodic' if any(atoms.pbc) else ''}"
        found[f"{label}: derivatives"] = (cluster, "derivatives")
        found[f"{label}: gradient"] = (cluster, "gradient")
    return found


def main() -> int:
    """The command line of this module."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=12, help="repeats, in turn")
    options.add_argument("--clock", default="wall", choices=CLOCKS, help="what is counted")
    given = options.parse_args()
    pin(given.core)
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    rows, result = [], {}
    for name, (atoms, what) in cases().items():
        print(f"timing {name}", flush=True)
        theirs = "vectors" if what == "vectors" else "derivatives"
        rivals = {
            "gpjaxpot": timed(atoms, our_work(atoms)[what], given.clock),
            "dscribe": timed(atoms, their_work(atoms)[theirs], given.clock),
        }
        seconds = alternate(rivals, given.rounds)
        each = {key: per_atom(values, len(atoms)) for key, values in seconds.items()}
        ratio = ratios(seconds["dscribe"], seconds["gpjaxpot"])
        rows.append([name, each["gpjaxpot"]["min"], each["gpjaxpot"]["median"],
                     each["dscribe"]["min"], each["dscribe"]["median"],
                     ratio["min"], ratio["median"]])  # fmt: skip
        result[name] = {"microseconds_per_atom": each, "dscribe_over_gpjaxpot": ratio}
    headings = ["µs per atom", "gpjaxpot min", "median", "DScribe min", "median",
                "DScribe / gpjaxpot, min", "median"]  # fmt: skip
    print(table(headings, rows))
    other = beside_featomic(given.rounds, given.clock)
    rows = []
    for name, each in other.items():
        ours, theirs = (each["microseconds_per_atom"][key] for key in ("gpjaxpot", "featomic"))
        ratio = each["featomic_over_gpjaxpot"]
        rows.append([name, ours["min"], ours["median"], theirs["min"], theirs["median"], ratio["min"], ratio["median"]])
    if rows:
        print(table([heading.replace("DScribe", "featomic") for heading in headings], rows))
    answer = {"settings": SETTINGS, "rounds": given.rounds, "clock": given.clock, "times": result, "featomic": other}
    print(f"wrote {write_result('descriptor', answer)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
