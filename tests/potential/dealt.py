"""A program that predicts and fits on several devices, or as one of two processes.

python -m tests.potential.dealt MODEL OUT.npz COUNT…            on so many of the devices that there are, for each COUNT
python -m tests.potential.dealt MODEL OUT.npz process I PORT    as process I of two, with a device each
"""

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.potential import streaming
from tests.systems import structure

NAMES = ("energy", "energies", "forces", "stress")
SPREADS = ("energy_std", "forces_std", "stress_std", "energies_epistemic_std")


def structures():
    """Periodic and isolated ones of several sizes, more than one batch of them and not as many in each."""
    return [structure(n=2 + k % 5, periodic=k % 3 > 0, seed=k) for k in range(60)]


def flat(predictions, names=NAMES):
    """All numbers of each kind, one structure after the other; no stress counts as none."""
    return {
        name: np.concatenate([np.ravel(v) for p in predictions if (v := getattr(p, name)) is not None])
        for name in names
    }


class Stopped(Exception):
    """A fit was interrupted."""


def fitted(mesh=None, count=136, **more):
    """What a fit to nine batches, with levels that it learns, makes of structures that it has not seen."""
    from tests.potential.conftest import labelled, soap  # computes, which a process must not before it joins the others

    frames = labelled(140)
    chosen = gp.load_settings(None, ["model.method=sparse", "model.n_inducing=40", "model.refine=false"])
    potential = gp.fit(frames[:count], soap(), gp.DotPower(2), settings=chosen, mesh=mesh, **more)
    return flat(potential.predict([f.structure for f in frames[136:]], uncertainty=True), (*NAMES, *SPREADS))


def all_of_it(potential, mesh):
    """Predictions on a mesh, and those of a potential that was fitted on it."""
    made = fitted(gp.all_devices() if mesh is None else mesh)
    predicted = flat(potential.predict_many(structures(), mesh=mesh))
    return predicted | {f"fitted {name}": values for name, values in made.items()}


def resumed(mesh, checkpoint, process):
    """The same fit, stopped in both processes; the second one has lost what it kept when they go on.

    Also how many batches were done when each first told of its progress again.
    """
    streaming.SECONDS_BETWEEN_CHECKPOINTS = -1.0
    told = []

    def stop(stage, done, _):
        if stage == "covariances" and done >= 4:
            raise Stopped

    with pytest.raises(Stopped):
        fitted(mesh, checkpoint=checkpoint, callback=stop)
    (own,) = checkpoint.parent.glob(f"{checkpoint.name}.*-{process}")
    if process == 1:
        own.unlink()
    found = fitted(mesh, checkpoint=checkpoint, callback=lambda stage, done, _: told.append((stage, done)))
    return found | {"first": next(done for stage, done in told if stage == "covariances")}


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
    found = {n: all_of_it(potential, mesh) for n, mesh in meshes.items()}
    if words[0] == "process":
        with pytest.raises(gp.InputError, match="processes that fit together differ"):
            fitted(gp.all_devices(), 136 - int(words[1]))
        again = resumed(gp.all_devices(), Path(out).with_name("interrupted"), int(words[1]))
        found["resumed"] = {f"fitted {name}": values for name, values in again.items()}
    np.savez(out, **{f"{n} {name}": values for n, these in found.items() for name, values in these.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
