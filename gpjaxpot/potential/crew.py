"""Devices, of one process or of several, that share the work of a fit."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import Float

from gpjaxpot.errors import InputError


def all_devices() -> Mesh:
    """All devices of all processes, in one row."""
    return jax.make_mesh((jax.device_count(),), ("structures",))


@dataclass(frozen=True)
class Crew:
    """The devices of a mesh, as one of its processes sees them: every process deals the work in the same way.

    Each device of this process has a thread of its own, in which programs run on that device.  Without a mesh there is
    one, and nothing is changed.
    """

    devices: tuple[Any, ...] = ()
    """JAX's, of this process; empty where nothing was said of devices."""
    places: tuple[int, ...] = (0,)
    """Which places of the mesh they have."""
    size: int = 1
    """Devices of all processes."""
    processes: int = 1

    @classmethod
    def of(cls, mesh: Mesh | None) -> "Crew":
        """The devices of `mesh`; None for wherever JAX computes by itself.

        Raises:
            InputError: for a mesh with devices of some of several processes.
        """
        if mesh is None:
            return ALONE
        listed = list(mesh.devices.flat)
        mine = jax.process_index()
        taking_part = {device.process_index for device in listed}
        if taking_part != {mine} and taking_part != set(range(jax.process_count())):
            raise InputError(
                f"the mesh has devices of the processes {sorted(taking_part)} out of {jax.process_count()}: a fit "
                "takes those of all, as in jax.make_mesh((jax.device_count(),), ('structures',)), or of its own"
            )
        places = [place for place, device in enumerate(listed) if device.process_index == mine]
        return cls(tuple(listed[k] for k in places), tuple(places), len(listed), len(taking_part))

    def shares(self, count: int) -> list[range]:
        """Which of `count` pieces of work each device of this process does."""
        return [range(place, count, self.size) for place in self.places]

    def each(self, work: Callable[[int], None]) -> None:
        """Call `work(0)`, `work(1)`, …, one number for each device of this process, each on its device."""

        def on_its_device(lane: int) -> None:
            with jax.default_device(self.devices[lane]) if self.devices else nullcontext():
                work(lane)

        if len(self.places) == 1:
            on_its_device(0)
            return
        with ThreadPoolExecutor(len(self.places)) as pool:
            for _ in pool.map(on_its_device, range(len(self.places))):
                pass  # what failed there is raised here

    def least(self, value: float) -> float:
        """The least `value` of all processes."""
        return float(np.min(self._of_all(np.array([value])))) if self.processes > 1 else value

    def agreed(self, decision: bool) -> bool:
        """What the first process decided."""
        return bool(self._of_all(np.array([float(decision)]))[0, 0]) if self.processes > 1 else decision

    def gathered(self, array: Float[np.ndarray, "rows columns"], most: int) -> list[Float[np.ndarray, "_ columns"]]:
        """The matrices of all processes, each of at most `most` rows, in their order."""
        if self.processes == 1:
            return [array]
        padded = np.zeros((most, array.shape[1]))
        padded[: len(array)] = array
        counts = self._of_all(np.array([float(len(array))]))[:, 0]
        return [rows[: int(n)] for rows, n in zip(self._of_all(padded), counts, strict=True)]

    def known_to_all(
        self, rows: dict[int, np.ndarray], lengths: Sequence[int], columns: int
    ) -> dict[int, np.ndarray]:
        """All entries of `rows`, matrices of which each process has some and empty arrays for the others.

        `lengths` are the entries' numbers of rows, in the order of the keys.
        """
        if self.processes == 1:
            return rows
        edges = np.cumsum([0, *lengths])
        whole = np.zeros((edges[-1], columns))
        for k, own in enumerate(rows.values()):
            if len(own):
                whole[edges[k] : edges[k + 1]] = own
        whole = np.sum(self._of_all(whole), axis=0)
        return {i: whole[edges[k] : edges[k + 1]] for k, i in enumerate(rows)}

    def check_same(self, mark: str) -> None:
        """Compare what this process is about to do with what the others are.

        Raises:
            InputError: where they differ, in data, settings or choices.
        """
        if self.processes == 1:
            return
        marks = self._of_all(np.frombuffer(bytes.fromhex(mark), np.uint8).astype(float))
        if np.any(marks != marks[0]):
            raise InputError(
                "the processes that fit together differ in data, settings, or what they chose: give all the same "
                "structures, in the same order, and settings, on machines and versions that are alike"
            )

    def own_file(self, path: Path | None) -> Path | None:
        """Where this process keeps what it would keep in `path` if it were alone."""
        if path is None or self.processes == 1:
            return path
        return path.with_name(f"{path.name}-{jax.process_index()}")

    @staticmethod
    def _of_all(array: np.ndarray) -> np.ndarray:
        return np.asarray(multihost_utils.process_allgather(array))


# Without a mesh: one device, wherever JAX computes.
ALONE = Crew()
