"""Default settings against settings tuned by hand: one number of the descriptor or the kernel changed at a time.

python -m benchmarks.bench_tuned [--data FOLDER] [--sets Li_mlearn Cu_mlearn] [--structures 80] [--seconds 300]

The variants stand around what the fit without configuration chose; each learns its levels, its components and its
number of inducing environments as that one does.  The best of them is chosen by the test errors themselves, which no
user could do: the default is compared with more than the best hand.
"""

import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.bench_accuracy import parts
from benchmarks.sets import fits_parser, for_each_set
from benchmarks.table import table

KEYS = {"energy_mae_meV_per_atom": "E MAE meV/atom", "forces_mae_eV_per_A": "F MAE eV/Å"}


def variants(descriptor: dict[str, Any], zeta: float) -> dict[str, tuple[dict[str, Any], float]]:
    """Descriptors and powers that an expert would try next."""

    def changed(**values: Any) -> dict[str, Any]:
        return descriptor | values

    cutoff, sigma = descriptor["cutoff"], descriptor["sigma"]
    n, l = descriptor["n_max"], descriptor["l_max"]
    found = {
        "as chosen": (descriptor, zeta),
        "cutoff × 0.85": (changed(cutoff=0.85 * cutoff), zeta),
        "cutoff × 1.15": (changed(cutoff=1.15 * cutoff), zeta),
        "sigma × 0.8": (changed(sigma=0.8 * sigma), zeta),
        "sigma × 1.25": (changed(sigma=1.25 * sigma), zeta),
        "larger basis": (changed(n_max=n + 2, l_max=l + 2), zeta),
        "no radial weight": (changed(radial_scale="none"), zeta),
    }
    return found | {f"zeta {z:g}": (descriptor, z) for z in (2.0, 3.0, 4.0, 6.0) if z != zeta}


def compare(folder: Path, structures: int, tested: int, seconds: float) -> dict[str, Any]:
    """Test errors of the default and of all variants on the same structures."""
    import jax

    import gpjaxpot as gp

    frames, test = parts(folder, structures, tested)
    found: dict[str, Any] = {}

    def run(name: str, settings: gp.Settings) -> gp.Potential:
        jax.clear_caches()
        start = time.perf_counter()
        potential = gp.fit(frames, settings=settings)
        scores = gp.evaluate(potential, test)
        summary = potential.summary()
        found[name] = {key: scores[key] for key in KEYS} | {
            "n_inducing": summary["n_inducing"], "method": summary["method"], "seconds": time.perf_counter() - start,
        }  # fmt: skip
        print(name, found[name], flush=True)
        return potential

    common = {"model": {"time": seconds}, "calibration": {"method": "none"}}
    resolved = run("no configuration", gp.Settings.model_validate(common)).summary()["settings"]
    descriptors = resolved["descriptor"]
    if len(descriptors) > 1:
        print(f"of {len(descriptors)} descriptors the first is varied")
    for name, (first, zeta) in variants(descriptors[0], resolved["kernel"]["zeta"]).items():
        asked = common | {"descriptor": [first, *descriptors[1:]], "kernel": {"zeta": zeta}}
        run(name, gp.Settings.model_validate(asked))
    return {"fits": found, "default_over_best": {
        key: found["no configuration"][key] / min(one[key] for one in found.values()) for key in KEYS
    }}  # fmt: skip


def main() -> int:
    """The command line of this module."""
    given = fits_parser(__doc__, ("Li_mlearn", "Cu_mlearn"), 80, 300.0, "tuned").parse_args()
    result = for_each_set(
        given, lambda _, folder: compare(folder, given.structures, given.test_structures, given.seconds)
    )
    rows = [
        [name, fit, one["n_inducing"] or one["method"], *(one[key] for key in KEYS), one["seconds"]]
        for name, found in result.items()
        for fit, one in found["fits"].items()
    ]
    if rows:
        print(table(["set", "fit", "inducing", *KEYS.values(), "s"], rows))
        rows = [[name, *found["default_over_best"].values()] for name, found in result.items()]
        print(table(["no configuration over the best", *KEYS.values()], rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
