"""Atomic writing: the whole new file, or the old one untouched."""

import os
import stat

import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.structures.files import atomic_write, check_writable


def test_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "a b.txt"
    path.write_text("old")
    path.chmod(0o640)
    with atomic_write(path) as out:
        out.write("new ü")
        assert path.read_text() == "old"
    assert path.read_text(encoding="utf-8") == "new ü"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a b.txt"]


def test_bytes(tmp_path):
    with atomic_write(tmp_path / "a.bin", "wb") as out:
        out.write(b"\0\1")
    assert (tmp_path / "a.bin").read_bytes() == b"\0\1"


def half_written(path, fault):
    """Begin to write and fail."""
    with atomic_write(path) as out:
        out.write("half")
        raise fault


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, FileNotFoundError])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(fault):
        half_written(path, fault)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_no_new_file_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a.txt"):
        raise RuntimeError
    assert not os.listdir(tmp_path)


def test_link_stays_a_link(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_write(tmp_path / "link.txt") as out:
        out.write("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


@pytest.mark.parametrize("write", [lambda p: atomic_write(p).__enter__(), check_writable])
def test_places_that_cannot_be_written(tmp_path, write):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "none" / "a.txt", tmp_path / "file" / "a.txt"):
        with pytest.raises(InputError, match="cannot write"):
            write(place)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("write", [lambda p: atomic_write(p).__enter__(), check_writable])
def test_read_only_directory(tmp_path, write):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="Permission denied"):
            write(tmp_path / "a.txt")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's full device")
def test_full_disk_is_said():
    with pytest.raises(InputError, match="No space left"), atomic_write("/dev/full") as out:
        out.write("x" * 100_000)


def test_check_leaves_nothing_and_keeps_what_is_there(tmp_path):
    path = tmp_path / "a.txt"
    check_writable(path)
    assert not os.listdir(tmp_path)
    path.write_text("old")
    check_writable(path)
    assert path.read_text() == "old"


def test_unknown_mode(tmp_path):
    with pytest.raises(ValueError, match="mode"), atomic_write(tmp_path / "a", "a"):
        pass
