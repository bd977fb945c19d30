"""Running the command, in this process or in one of its own, and the texts of shipped frames."""

import os
import subprocess
import sys
from functools import cache
from importlib import resources
from pathlib import Path

from typer.testing import CliRunner, Result

ROOT = Path(__file__).parents[2]
# Fits in seconds: a model of this size is of no use, which is no matter here.
SMALL = tuple(
    word
    for setting in (
        "descriptor.n_max=3",
        "descriptor.l_max=2",
        "descriptor.cutoff=3.5",
        "descriptor.sigma=0.5",
        "descriptor.radial_scale=none",
        "model.method=sparse",
        "model.n_inducing=30",
        "noise.energy_exponent=0.5",
        "noise.by_group=false",
    )
    for word in ("--set", setting)
)
PROGRAM = "from gpjaxpot.cli.app import main; main()"


def run(*words: object) -> Result:
    """Run the command in this process; what it raises beside its exit status fails the test."""
    from gpjaxpot.cli.app import app

    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def start(*words: object, **options) -> subprocess.Popen[str]:
    """Start the command in a process of its own, 80 columns wide, without a terminal."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def finish(process: subprocess.Popen[str], seconds: float = 300.0) -> tuple[int, str, str]:
    """Return exit status, stdout and stderr of a process that was started."""
    stdout, stderr = process.communicate(timeout=seconds)
    return process.returncode, stdout, stderr


@cache
def dataset_frames(name: str) -> list[str]:
    """Return the text of each frame of a shipped file."""
    text = resources.files("gpjaxpot.datasets").joinpath(f"{name}.xyz").read_text("utf-8")
    lines = text.splitlines(keepends=True)
    frames, place = [], 0
    while place < len(lines):
        end = place + int(lines[place]) + 2
        frames.append("".join(lines[place:end]))
        place = end
    return frames


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return name and content of all files in a folder, to be compared later."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
