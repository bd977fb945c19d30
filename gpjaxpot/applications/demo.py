"""The main job on the shipped silicon data: fit, test, and look at the error bars."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpjaxpot.applications.evaluate import evaluate
from gpjaxpot.applications.figures import can_plot, figures_of_test, save_figures
from gpjaxpot.datasets import silicon
from gpjaxpot.errors import InputError
from gpjaxpot.potential.fit import fit
from gpjaxpot.potential.potential import Potential
from gpjaxpot.potential.settings import Settings
from gpjaxpot.structures.files import atomic_write, check_writable
from gpjaxpot.structures.io import write_predictions
from gpjaxpot.structures.labels import Frame

MODEL, SCORES, PREDICTIONS = "silicon.safetensors", "scores.json", "predictions.xyz"
"""Names of the files that the demonstration writes, beside its figures."""


@dataclass(frozen=True)
class Demo:
    """What came out: the potential, its test, and the files written.

    `result` is what `evaluate` returns for the test structures; `fit_seconds` includes
    compilation; `figures` is empty where matplotlib is not installed.
    """

    potential: Potential
    train: Sequence[Frame]
    test: Sequence[Frame]
    result: dict[str, Any]
    fit_seconds: float
    files: tuple[Path, ...]
    figures: tuple[Path, ...]


def run_demo(
    folder: Path,
    settings: Settings,
    callback: Callable[[str, int, int], None] | None = None,
) -> Demo:
    """Fit silicon, test the potential on structures it has not seen, and write all of it down.

    Args:
        folder: where the files go; made if it is not there.
        settings: of the fit.
        callback: called with stage, what is done, and what there is in all.

    Raises:
        InputError: if the folder cannot be written, before any work.
    """
    _make_folder(folder)
    train, test = silicon()
    begun = time.perf_counter()
    potential = fit(train, settings=settings, callback=callback)
    fit_seconds = time.perf_counter() - begun
    potential.save(folder / MODEL)

    def tell(done: int, total: int) -> None:
        if callback is not None:
            callback("testing", done, total)

    result = evaluate(potential, test, callback=tell)
    predictions = potential.predict([frame.structure for frame in test], uncertainty=True)
    write_predictions(folder / PREDICTIONS, test, predictions)
    with atomic_write(folder / SCORES) as out:
        json.dump(result, out, indent=2, allow_nan=False)
        out.write("\n")
    figures = save_figures(figures_of_test(test, predictions), folder) if can_plot() else []
    files = tuple(folder / name for name in (MODEL, SCORES, PREDICTIONS))
    return Demo(potential, train, test, result, fit_seconds, files, tuple(figures))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}; choose another with --output") from error
    check_writable(folder / MODEL)
