"""The machine and the versions that a measured number belongs to, and the file that keeps both."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
PACKAGES = ("gpjaxpot", "jax", "jaxlib", "numpy", "scipy", "equinox", "ase", "vesin", "dscribe", "featomic")


def describe() -> dict[str, Any]:
    """Processor, cores, load, operating system, commit and versions, as plain JSON."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": versions(),
    }


def processor() -> str:
    """The processor's name, as Linux tells it where it does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def commit() -> str | None:
    """The commit of this checkout, with "+" where files differ from it; None outside of git."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return result.stdout.strip() or None


def versions() -> dict[str, str]:
    """The versions of what does the work, as far as installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def write_result(name: str, result: Mapping[str, Any]) -> Path:
    """Writes `result`, with the machine it was measured on, to results/`name`.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": describe(), **result}, indent=2) + "\n")
    return path
