"""A program that predicts on several devices, or as one of two processes.

python -m tests.potential.dealt MODEL OUT.npz COUNT…            on so many of the devices that there are, for each COUNT
python -m tests.potential.dealt MODEL OUT.npz process I PORT    as process I of two, with a device each
"""

import sys

import jax
import numpy as np

import gpjaxpot as gp
from tests.systems import structure

NAMES = ("energy", "energies", "forces", "stress")


def structures():
    """Periodic and isolated ones of several sizes, more than one batch of them and not as many in each."""
    return [structure(n=2 + k % 5, periodic=k % 3 > 0, seed=k) for k in range(60)]


def flat(predictions):
    """All numbers of each kind, one structure after the other; no stress counts as none."""
    return {
        name: np.concatenate([np.ravel(v) for p in predictions if (v := getattr(p, name)) is not None])
        for name in NAMES
    }


def main(model, out, *words):
    """Predict, and write all that came out."""
    jax.config.update("jax_enable_x64", True)
    if words[0] == "process":
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{words[2]}", num_processes=2, process_id=int(words[1]))
        assert (jax.device_count(), jax.local_device_count()) == (2, 1)
        meshes = {"2": None}
    else:
        meshes = {n: jax.sharding.Mesh(np.array(jax.devices()[: int(n)]), ("x",)) for n in words}
    potential = gp.Potential.load(model)
    found = {n: flat(potential.predict_many(structures(), mesh=mesh)) for n, mesh in meshes.items()}
    np.savez(out, **{f"{n} {name}": values for n, all_of_it in found.items() for name, values in all_of_it.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
