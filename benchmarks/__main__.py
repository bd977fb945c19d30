"""Runs every benchmark in turn, each in a process of its own: python -m benchmarks --help."""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.inputs import DEFAULT_DATA

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The benchmarks there are: every bench_NAME.py of this folder."""
    return sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))


def main() -> int:
    """Runs the benchmarks asked for; the exit status says whether all of them ended well."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all where none is named: " + ", ".join(names()))
    parser.add_argument("--data", default=DEFAULT_DATA, help="folder of the larger data sets")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(names()))
    if unknown:
        parser.error(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(names())}")
    failed = []
    for name in arguments.names or names():
        print(f"\n== {name}", flush=True)
        module = f"benchmarks.bench_{name}"
        command = [sys.executable, "-m", module, "--data", arguments.data]
        if subprocess.run(command, cwd=FOLDER.parent, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
