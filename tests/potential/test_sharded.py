"""Many structures on many devices: the numbers are those of one structure on one device, and fits those of one."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.potential.batching import batches
from gpjaxpot.structures.batch import neighbourhood
from tests.potential.dealt import fitted, flat, structures
from tests.systems import structure

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))


def start(model, out, *words, devices=1):
    """Start `dealt.py` in a process of its own, with so many virtual devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, "-m", "tests.potential.dealt", str(model), str(out), *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **streams)


def finished(*processes):
    """Wait for all; what they said is the message if one failed."""
    said = [p.communicate(timeout=300)[0] for p in processes]
    assert not any(p.returncode for p in processes), "\n".join(said)


@pytest.fixture(scope="module")
def model(sparse, tmp_path_factory):
    path = tmp_path_factory.mktemp("dealt") / "model.safetensors"
    sparse.save(path)
    return path


@pytest.fixture(scope="module")
def one_by_one(sparse):
    return flat(sparse.predict(structures()))


@pytest.fixture(scope="module")
def alone(one_by_one):
    """What one device makes of all, and of a fit."""
    return one_by_one | {f"fitted {name}": values for name, values in fitted().items()}


def assert_same(found, wanted):
    for name in wanted:
        # Weights of some 1e3 eV: the order of sums alone moves an energy by 1e-10.
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_one_device_gives_the_numbers_of_single_predictions(sparse, one_by_one):
    found = [neighbourhood(s, sparse.species, sparse.cutoff) for s in structures()]
    assert len(batches(found, 1)) > 2
    assert_same(flat(sparse.predict_many(structures())), one_by_one)


def test_two_and_eight_devices_do(model, one_by_one, tmp_path):
    counts = ("1", "2", "8")
    finished(start(model, tmp_path / "out.npz", *counts, devices=8))
    with np.load(tmp_path / "out.npz") as found:
        # Of one process: where it has other threads, levels that are learned differ by as much as their search allows.
        fits = {name: found[name] for name in found if name.startswith("1 fitted")}
        assert len(fits) > len(one_by_one)
        for count in counts:
            assert_same({name: found[f"{count} {name}"] for name in one_by_one}, one_by_one)
            assert_same({name: found[f"{count}{name[1:]}"] for name in fits}, fits)


def test_two_processes_do_and_both_know_all(model, alone, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    outs = [tmp_path / f"{i}.npz" for i in range(2)]
    finished(*(start(model, out, "process", str(i), port) for i, out in enumerate(outs)))
    first = []
    for out in outs:
        with np.load(out) as found:
            assert_same({name: found[f"2 {name}"] for name in alone}, alone)
            again = {name: found[f"resumed {name}"] for name in alone if name.startswith("fitted")}
            assert_same(again, {name: alone[name] for name in again})
            first.append(int(found["resumed fitted first"]))
    assert first == [4, 2]  # the one goes on where it was stopped, the other begins anew


def test_single_precision_errs_as_it_does_for_one(sparse, one_by_one):
    """Some meV, with such weights."""
    some = structures()[:10]
    exact = one_by_one["energy"][: len(some)]
    alone = max(abs(flat(sparse.predict(some, dtype="float32"))["energy"] - exact))
    assert 0 < max(abs(flat(sparse.predict_many(some, dtype="float32"))["energy"] - exact)) < 3 * alone


def test_nothing_and_what_cannot_be(sparse):
    assert sparse.predict_many([]) == []
    with pytest.raises(InputError, match="dtype"):
        sparse.predict_many([], dtype="float16")
    with pytest.raises(InputError, match="species"):
        sparse.predict_many([structure(species=(1,))])
