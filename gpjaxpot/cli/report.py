"""Tables, sections and progress, as people read them in a terminal or in a log file.

Results go to stdout; progress goes to stderr, where it does not disturb them. Without a terminal
a line has 80 columns and progress is a line now and then.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.progress import TimeRemainingColumn as Remaining
from rich.table import Table
from rich.text import Text

ShowProgress = Callable[[str, int, int], None]
"""Called with a stage's name, what is done and what there is in all."""

_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
# Seconds between two lines of one stage in a log.
_LOG_EVERY = 20.0
_SHORTEST_NAME = 8
# One line below the titles, and one space between columns.
_RULE = box.SIMPLE_HEAD


def heading(text: str) -> None:
    """Print the title of a section, after an empty line."""
    _out().print(Text(f"\n{text}", style="bold"))


def line(text: str) -> None:
    """Print one line as it is, however long, so that paths and commands can be copied."""
    _out().print(Text(text), soft_wrap=True)


def pairs(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and what belongs to each, wrapped within its own column."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(Text(name, style=_STYLES.get(name, "")), Text(text))
    _out().print(grid)


def numbers(rows: Sequence[Sequence[str]]) -> None:
    """Print a table of numbers: titles in the first row, names in the first column.

    Titles are broken at their spaces, and names where the whole is too wide; numbers never.
    """
    titles = [rows[0][0], *(_upright(title) for title in rows[0][1:])]
    widths = [
        max(cell_len(part) for cell in column for part in cell.split("\n"))
        for column in zip(titles, *rows[1:], strict=True)
    ]
    console = _out()
    room = console.width - sum(widths[1:])
    gap = 2 if room >= widths[0] + 2 * len(widths) else 1
    # Where it cannot fit, long lines are better than lost digits.
    console.width = max(console.width, _SHORTEST_NAME + sum(widths[1:]) + gap * len(widths))
    table = Table(box=_RULE, pad_edge=False, show_edge=False, padding=(0, gap - 1, 0, 0))
    table.add_column(Text(titles[0]), overflow="fold", vertical="bottom")
    for title, width in zip(titles[1:], widths[1:], strict=True):
        table.add_column(Text(title), justify="right", no_wrap=True, min_width=width)
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    console.print(table)


def texts(rows: Sequence[Sequence[str]]) -> None:
    """Print a table of words: titles in the first row, the last column takes what room is left."""
    titles, *body = rows
    table = Table(box=_RULE, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for title in titles[:-1]:
        table.add_column(Text(title), overflow="fold", max_width=30)
    table.add_column(Text(titles[-1]), overflow="fold", ratio=1)
    for row in body:
        table.add_row(*map(Text, row))
    _out().print(table)


@contextmanager
def progress() -> Iterator[ShowProgress]:
    """Yield what shows how far each stage is: as bars in a terminal, else as lines."""
    console = Console(stderr=True, markup=False, highlight=False)
    if not console.is_terminal:
        log = _Log(console)
        yield log
        log.end_stage()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20))
    times = (Elapsed(), TextColumn("left"), Remaining())
    with Progress(*columns, MofNCompleteColumn(), *times, console=console) as bars:
        shown = _Bars(bars)
        yield shown
        shown.end_stage()


def seconds(value: int | float) -> str:
    """Return a duration as people say it: 0.5 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if value < 10:
        return f"{value:.2g} s" if value < 1 else f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def memory(n_bytes: int | float) -> str:
    """Return an amount of memory in kB, MB or GB, powers of ten."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes / 1e3:.3g} kB"


class _Log:
    """Progress without a terminal: a line when a stage has ended, or has gone on for long."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._stage = ""
        self._begun = self._told = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self.end_stage()
            self._stage, self._begun, self._told = stage, now, now
        if done >= total:
            self.end_stage()
        elif now - self._told > _LOG_EVERY:
            self._told = now
            self._say(f"{done} of {total}, {seconds(now - self._begun)}")

    def end_stage(self) -> None:
        """Say that the stage is over, also where it took fewer steps than it might have."""
        if self._stage:
            self._say(f"done, {seconds(time.monotonic() - self._begun)}")
            self._stage = ""

    def _say(self, text: str) -> None:
        self._console.print(Text(f"{self._stage}: {text}"), soft_wrap=True)


class _Bars:
    """Progress in a terminal: a bar for each stage, of which the last one moves."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._stage = ""
        self._total = 0
        self._task: TaskID | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._task is None or stage != self._stage:
            self.end_stage()
            self._stage, self._task = stage, self._bars.add_task(stage, total=total)
        self._total = total
        self._bars.update(self._task, completed=done, total=total)

    def end_stage(self) -> None:
        """Fill the bar, also where the stage took fewer steps than it might have."""
        if self._task is not None:
            self._bars.update(self._task, completed=self._total, total=self._total)
            self._task = None


def _out() -> Console:
    return Console(markup=False, highlight=False)


def _upright(title: str) -> str:
    """Return a title as words below each other, its unit without brackets."""
    return title.replace("(", "").replace(")", "").replace(" ", "\n")
