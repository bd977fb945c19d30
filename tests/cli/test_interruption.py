"""A fit that is told to stop says how to go on, and going on gives the same model."""

import json
import signal
import time

import pytest

from tests.cli.helpers import SMALL, finish, run, start

# Enough inducing environments and stages that there is time to stop it.
LONGER = [*SMALL, "--set", "descriptor.n_max=6", "--set", "descriptor.l_max=5"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupted_fit_resumes(number, files, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"old")
    words = ["fit", files.train, "--output", model, *LONGER]
    process = start(*words)
    # The heading is printed just before the work begins.
    for line in process.stdout:
        if line.startswith("Fit"):
            break
    time.sleep(2)
    process.send_signal(number)
    status, _, stderr = finish(process)
    assert status == 130
    assert "interrupted" in stderr
    assert "same command again" in stderr
    assert "Traceback" not in stderr
    assert model.read_bytes() == b"old"
    assert run(*words).exit_code == 0
    whole = tmp_path / "whole.safetensors"
    assert run("fit", files.train, "--output", whole, *LONGER).exit_code == 0
    prints = [json.loads(run("info", m, "--json").stdout)["fingerprint"] for m in (model, whole)]
    assert prints[0] == prints[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "whole.safetensors"]
