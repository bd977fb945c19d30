"""Being told to stop: by Ctrl-C, or by SIGTERM as batch systems send it at the time limit."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit status of a command that was told to stop, as shells give it after Ctrl-C."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_STOPPING = b"\nstopping after this step; Ctrl-C again stops at once\n"


class Stop:
    """Whether the work was told to stop.

    A signal may arrive where Python swallows what its handler raises (while it frees memory,
    say), so the first one is only noted, and the work asks between its steps.
    """

    def __init__(self) -> None:
        """Begin with nothing told."""
        self.told = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if the work was told to stop."""
        if self.told:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.told:
            raise KeyboardInterrupt
        self.told = True
        # Not print: it may be what was interrupted.
        os.write(2, _STOPPING)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Yield what says whether Ctrl-C or SIGTERM told this block to stop; a second one ends it."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python lets the main thread alone receive signals.
        return
    before = [signal.signal(number, stop._note) for number in _SIGNALS]
    try:
        yield stop
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
