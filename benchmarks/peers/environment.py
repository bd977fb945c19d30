"""The virtual environment of QUIP's GAP: quippy and gap_fit, apart from our own libraries.

python -m benchmarks.peers.environment makes it in .cache/peers/quippy and prints its Python.
"""

import os
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENT = "quippy-ase==0.10.3"
FOLDER = Path(__file__).parents[2] / ".cache" / "peers" / "quippy"
# Names the Python of an environment that has quippy already, where one lies elsewhere.
VARIABLE = "GPJAXPOT_QUIPPY_PYTHON"


def quippy_python() -> Path:
    """The Python that has quippy, in an environment that is made at the first call.

    Raises:
        subprocess.CalledProcessError: if pip cannot install quippy; pip has said why.
    """
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).absolute()
    python = FOLDER / "bin" / "python"
    stamp = FOLDER / "installed"
    if not stamp.exists() or stamp.read_text() != REQUIREMENT:
        print(f"installing {REQUIREMENT} into {FOLDER}", file=sys.stderr)
        venv.create(FOLDER, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", REQUIREMENT], check=True)
        stamp.write_text(REQUIREMENT)
    return python


if __name__ == "__main__":
    print(quippy_python())
