"""The folder of compiled programs, which one command leaves for the next."""

import glob
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

FOLDER = "JAX_COMPILATION_CACHE_DIR"
# A shape of structures leaves half a megabyte.
MOST_BYTES = 256_000_000
# JAX never writes an entry anew, not even one that is broken: a disk was full, a process was killed.
_FAULT = re.compile(r"Error (?:reading|writing) persistent compilation cache entry for '([^']*)'")


@contextmanager
def kept_programs() -> Iterator[None]:
    """Have JAX keep what is compiled in this block, and take what was kept.

    The folder is the user's own (`own_folder`), or the one that JAX_COMPILATION_CACHE_DIR names, which is never tidied.
    JAX_ENABLE_COMPILATION_CACHE=0 switches it off.  Nothing is changed where JAX was loaded before.  A folder that
    cannot be read or written costs time and no word.
    """
    if "jax" in sys.modules:
        yield
        return
    own = None if FOLDER in os.environ else own_folder()
    if own is not None:
        os.environ[FOLDER] = str(own)
    # The small ones too: the three dozen of a prediction took half a second more to compile than to load.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    try:
        with _faults_mended(own):
            yield
    finally:
        if own is not None:
            tidy(own)


def own_folder() -> Path | None:
    """Return the user's folder for compiled programs, or None where there should be none."""
    base, home = os.environ.get("XDG_CACHE_HOME", ""), os.path.expanduser("~")
    if not os.path.isabs(base):
        if not os.path.isabs(home):
            return None
        base = os.path.join(home, "Library/Caches" if sys.platform == "darwin" else ".cache")
    # Loading large programs was seen to crash there (jaxlib 0.9.2, Apple silicon).
    if sys.platform == "darwin" and tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 10):
        return None
    return Path(base) / "gpjaxpot" / "jax"


def tidy(folder: Path, most: int = MOST_BYTES) -> None:
    """Remove what was not used for the longest time until what is left takes `most` bytes."""
    with suppress(OSError):
        files = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
        found = sorted((max(s.st_atime, s.st_mtime), s.st_size, path) for path, s in files)
        excess = sum(size for _, size, _ in found) - most
        for _, size, path in found:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size


@contextmanager
def _faults_mended(folder: Path | None) -> Iterator[None]:
    """Say nothing of entries that could not be read or written, and remove them from `folder`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=_FAULT.pattern, category=UserWarning)
        shown = warnings.showwarning

        def show(message, category, *rest, **named) -> None:
            """Show what is no such fault."""
            fault = _FAULT.match(str(message))
            if fault is None:
                shown(message, category, *rest, **named)
            elif folder is not None:
                for path in folder.glob(f"{glob.escape(fault[1])}-*"):
                    with suppress(OSError):
                        path.unlink()

        warnings.showwarning = show
        yield
