"""A fit that is told to stop says how to go on, and going on gives the same model."""

import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest

import gpjaxpot
from gpjaxpot.cli import report
from gpjaxpot.cli.interruption import stoppable
from tests.cli.helpers import SMALL, finish, run, start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_fit_that_is_told_to_stop_ends_with_130(number, files, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"old")
    process = start("fit", files.train, "--output", model, *SMALL)
    for line in process.stdout:
        if line.startswith("Fit"):
            break
    # The title is printed when a signal can be received; the work takes a second or more.
    time.sleep(0.1)
    process.send_signal(number)
    status, _, stderr = finish(process)
    assert status == 130
    assert stderr.count("interrupted") == 1
    assert "The same command again" in stderr
    assert "Traceback" not in stderr
    # Where programs were compiled before, a stage may have ended by then: what it left is named.
    names = {path.name for path in tmp_path.iterdir()}
    stored = {name for name in names if name.startswith("model.safetensors.partial.")}
    assert names - stored == {"model.safetensors"}
    assert bool(stored) == ("model.safetensors.partial" in stderr)
    assert model.read_bytes() == b"old"


def test_an_interrupted_fit_resumes(files, tmp_path, monkeypatch):
    """Stopped in the middle of its longest stage, which the second run begins there."""
    model, seen = tmp_path / "model.safetensors", []
    words = ["fit", files.train, "--output", model, *SMALL]

    @contextmanager
    def interrupting():
        def show(stage, done, total):
            if stage == "covariances" and done == 4:
                raise KeyboardInterrupt

        yield show

    @contextmanager
    def recording():
        yield lambda stage, done, total: seen.append((stage, done))

    # Each step is stored, not only one in so many seconds.
    monkeypatch.setattr("gpjaxpot.potential.streaming.SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    monkeypatch.setattr(report, "progress", interrupting)
    stopped = run(*words)
    assert stopped.exit_code == 130
    assert "model.safetensors.partial" in stopped.stderr
    assert [path.name.rstrip("0123456789") for path in tmp_path.iterdir()] == ["model.safetensors.partial."]

    monkeypatch.setattr(report, "progress", recording)
    resumed = run(*words)
    assert resumed.exit_code == 0
    assert "taking up interrupted work" in resumed.stdout
    steps = [done for stage, done in seen if stage == "covariances"]
    assert steps[0] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]

    frames = gpjaxpot.read(files.test)
    whole, pieces = (gpjaxpot.Potential.load(path).predict(frames) for path in (files.model, model))
    for one, other in zip(whole, pieces, strict=True):
        # The rows are folded in other groups, which changes the last digits.
        np.testing.assert_allclose(one.energy, other.energy, rtol=1e-9)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-7)


def test_the_first_signal_is_noted_and_the_second_raised():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stoppable() as stop:
        stop.check()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            stop.check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
