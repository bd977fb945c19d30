"""Files that are written whole or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gpjaxpot.errors import InputError

# What a full or failing disk answers in the middle of writing.
_DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS}


@contextmanager
def atomic_write(
    path: str | os.PathLike[str], mode: str = "w", *, encoding: str = "utf-8"
) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` that takes its place when the block ends well.

    The content is on the disk before the name is changed. If the block raises, `path` stays
    as it was and nothing is left behind. Something that is not a regular file, such as
    `/dev/stdout`, is written directly.

    Args:
        path: the file to write; a symbolic link keeps pointing to it.
        mode: "w" for text, "wb" for bytes.
        encoding: of text.

    Raises:
        InputError: if the place cannot be written or the disk is full.
    """
    if mode not in {"w", "wb"}:
        raise ValueError(f"mode must be 'w' or 'wb', got {mode!r}")
    target = Path(os.path.realpath(path))
    special = target.exists() and not target.is_file() and not target.is_dir()
    place = target if special else target.with_name(f".{secrets.token_hex(8)}.part")
    text = None if "b" in mode else encoding
    handle = None
    try:
        _refuse_directory(target, path)
        # Not a context manager: it must be closed before the name changes, and may fail to.
        handle = open(place, mode if special else mode.replace("w", "x"), encoding=text)  # noqa: SIM115
        yield handle
        handle.flush()
        if not special:
            os.fsync(handle.fileno())
            handle.close()
            _take_place(place, target)
    except OSError as error:
        if handle is None or error.errno in _DISK_FAULTS:
            raise _unwritable(path, error) from error
        raise
    finally:
        if handle is not None:
            # Closing a file on a full disk fails again; the first error is the one to report.
            with suppress(OSError):
                handle.close()
        if not special:
            with suppress(OSError):
                place.unlink(missing_ok=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise an InputError now if `path` could not be written later; leaves nothing behind."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        return
    trial = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        _refuse_directory(target, path)
        with open(trial, "xb"):
            pass
        trial.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def _refuse_directory(target: Path, path: str | os.PathLike[str]) -> None:
    if target.is_dir():
        raise InputError(f"cannot write {os.fspath(path)}: it is a directory; name a file in it")


def _take_place(part: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        part.chmod(target.stat().st_mode & 0o777)
    os.replace(part, target)
    # The new name itself is safe only once the directory is on the disk; not every
    # system lets a directory be opened, and the content is complete either way.
    with suppress(OSError):
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _unwritable(path: str | os.PathLike[str], error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(
        f"cannot write {os.fspath(path)}: {reason}; "
        "choose a place that exists, can be written and has room"
    )
