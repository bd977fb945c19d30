"""A report on a potential's test: the numbers, the figures, and a page that shows both."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpjaxpot.applications.evaluate import compare_all
from gpjaxpot.applications.figures import HOW_TO_PLOT, can_plot, save_figures
from gpjaxpot.applications.predicts import Predicts
from gpjaxpot.applications.report_figures import ReportFigure, report_figures
from gpjaxpot.applications.report_page import report_page
from gpjaxpot.applications.report_record import report_record
from gpjaxpot.applications.report_scene import report_scenes
from gpjaxpot.errors import InputError
from gpjaxpot.structures.elements import symbol
from gpjaxpot.structures.files import atomic_write
from gpjaxpot.structures.labels import Frame


@dataclass(frozen=True)
class Report:
    """What a report consists of, before any of it is written."""

    record: dict[str, Any]
    """All numbers, plain JSON; see `report_record`."""
    figures: list[ReportFigure]
    page: str
    """HTML, self-contained."""

    def save_page(self, path: Path) -> None:
        """Write the page, whole or not at all.

        Raises:
            InputError: if it cannot be written.
        """
        with atomic_write(path) as out:
            out.write(self.page)

    def save_json(self, path: Path) -> None:
        """Write the numbers as JSON, whole or not at all.

        Raises:
            InputError: if they cannot be written.
        """
        with atomic_write(path) as out:
            json.dump(self.record, out, indent=2, allow_nan=False)
            out.write("\n")

    def save_figures(self, folder: Path) -> list[Path]:
        """Write each figure as `folder/NAME.png` and return the paths; the folder is made where there is none.

        Raises:
            InputError: if they cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot make the folder {folder} for figures: {error.strerror or error}") from error
        return save_figures({item.name: item.figure for item in self.figures}, folder)


def make_report(
    potential: Predicts,
    frames: Sequence[Frame],
    model_file: str = "",
    data_files: Sequence[str] = (),
    raw: bool = False,
    callback: Callable[[int, int], None] | None = None,
) -> Report:
    """Predict every frame once, with its uncertainties, and report on the errors.

    Args:
        potential: what predicts.
        frames: structures with labels.
        model_file: where the potential came from, for the page.
        data_files: where the frames came from, for the page.
        raw: show the model's own spreads, though it is calibrated.
        callback: called with (frames done, frames in all) after each.

    Raises:
        InputError: if matplotlib is not installed, there are no frames, none has a label, or one has a species that
            the potential does not know.
    """
    if not can_plot():
        raise InputError(HOW_TO_PLOT)
    compared = compare_all(potential, frames, callback=callback)
    calibration = getattr(potential, "calibration", None)
    record = report_record(frames, compared, calibration, potential.summary(), raw)
    record["model"] = {"file": model_file, **record["model"]}
    record["data"] = {
        "files": list(data_files),
        "n_structures": len(frames),
        "n_atoms": sum(len(frame.structure) for frame in frames),
        "species": [symbol(n) for n in sorted({int(n) for frame in frames for n in frame.structure.numbers})],
    }
    figures = report_figures(frames, compared, calibration, raw)
    kept = [f for f, c in zip(frames, compared, strict=True) if not c.isolated] or list(frames)
    scenes = report_scenes(kept, record["worst_atoms"])
    title = f"Test of {Path(model_file).name}" if model_file else "Test of a potential"
    return Report(record, figures, report_page(record, figures, scenes, title))
