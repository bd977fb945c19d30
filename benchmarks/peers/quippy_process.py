"""quippy at our side: a process with a GAP loaded, which runs when asked and else waits."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self

from ase import Atoms

from benchmarks.peers.environment import quippy_python
from benchmarks.timing import ONE_THREAD

WORKER = Path(__file__).parent / "quippy_worker.py"


def one_shot(model: Path, *arguments: str) -> dict[str, Any]:
    """Runs the worker once, with `--time FILE` or `--evaluate FILE`, and returns its record."""
    command = [str(quippy_python()), str(WORKER), str(model), *arguments]
    environment = os.environ | ONE_THREAD
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    return json.loads(result.stdout)


class QuippyProcess:
    """A potential in quippy, in a process bound to the cores that the caller is bound to.

    Use it as a context; `seconds` fits `benchmarks.timing.alternate`:

        with QuippyProcess(Path("gap.xml")) as quippy:
            rivals = {"quippy": lambda: quippy.seconds(atoms), "gpjaxpot": ours}
            times = alternate(rivals, rounds=20)
    """

    def __init__(self, model: Path):
        command = [str(quippy_python()), str(WORKER), str(model.resolve())]
        self._evaluations = 0
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        self.program: str = self._answer()["ready"]

    def __enter__(self) -> Self:
        """Itself, ready since it was made."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends the process."""
        self._send({"command": "quit"})
        self._process.communicate()

    def seconds(self, atoms: Atoms, clock: str = "wall") -> float:
        """Seconds of one evaluation of energy and forces, positions new each time.

        `clock` is "wall" or "processor", as in `benchmarks.timing.CLOCKS`.
        """
        self._evaluations += 1
        request = _structure(atoms) | {"command": "time", "seed": self._evaluations, "clock": clock}
        return self._ask(request)["seconds"][0]

    def predict(self, atoms: Atoms) -> dict[str, Any]:
        """Energy in eV and forces in eV/Å."""
        return self._ask(_structure(atoms) | {"command": "predict"})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._send(request)
        return self._answer()

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"quippy ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"quippy: {answer['error']}")
        return answer


def _structure(atoms: Atoms) -> dict[str, Any]:
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
    }
