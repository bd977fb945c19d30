"""What one command compiled, the next one finds; and what goes wrong with it is not told to anybody."""

import os
import subprocess
import sys
import warnings

import jax
import pytest

from gpjaxpot.cli import compiled_programs
from tests.cli.helpers import PROGRAM, ROOT, dataset_frames

# One compilation, in the block that commands run in.
TINY = """
from gpjaxpot.cli.compiled_programs import kept_programs
with kept_programs():
    import jax
    print(jax.jit(lambda x: x + 1)(1.0))
"""


def alone(program, *words, **environment):
    """Run a program that knows nothing of the cache of the tests; return its stderr."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


def entries(folder):
    """Size and time of each program that is kept."""
    return {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*-cache")}


def test_a_second_process_compiles_nothing_but_what_is_broken(files, tmp_path):
    one = tmp_path / "one.xyz"
    one.write_text(dataset_frames("silicon_test")[3])
    words = ("predict", files.model, one, "--no-uncertainty", "--output", tmp_path / "out.xyz")
    alone(PROGRAM, *words, XDG_CACHE_HOME=str(tmp_path))
    folder = tmp_path / "gpjaxpot" / "jax"
    before = entries(folder)
    assert any(name.startswith("jit_evaluate") for name in before)
    # Every program is written when it is compiled, so no new or changed file is no compilation.
    broken = min(before, key=lambda name: before[name])
    whole = (folder / broken).read_bytes()
    (folder / broken).write_bytes(whole[: len(whole) // 2])
    printed = alone(PROGRAM, *words, XDG_CACHE_HOME=str(tmp_path))
    after = entries(folder)
    assert "cache" not in printed
    assert abs(after[broken][0] - before[broken][0]) < 100  # it has another time of compilation in it
    # JAX 0.12 does not read some programs of 2 kB back, and makes them anew in a moment.
    least = 0 if jax.__version_info__ < (0, 10) else 4096
    kept = {k: v for k, v in before.items() if k != broken and v[0] >= least}
    assert any(name.startswith("jit_evaluate") for name in kept)
    assert {k: after[k] for k in kept} == kept


@pytest.mark.parametrize(
    "environment", [{"XDG_CACHE_HOME": "/dev/null"}, {"JAX_COMPILATION_CACHE_DIR": "/dev/null/elsewhere"}]
)
def test_a_folder_that_cannot_be_made_is_no_word_worth(environment):
    assert alone(TINY, **environment) == ""


def test_the_switch_of_jax_switches_it_off(tmp_path):
    alone(TINY, XDG_CACHE_HOME=str(tmp_path), JAX_ENABLE_COMPILATION_CACHE="0")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_named_is_taken_and_not_tidied(tmp_path):
    """Other programs may keep theirs there."""
    program = TINY.replace("with kept", "import gpjaxpot.cli.compiled_programs as c; c.MOST_BYTES = 0\nwith kept")
    alone(program, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"), XDG_CACHE_HOME=str(tmp_path / "own"))
    assert entries(tmp_path / "mine")
    assert not (tmp_path / "own").exists()


def test_a_process_that_has_jax_keeps_its_own_ways(monkeypatch, tmp_path):
    monkeypatch.delenv(compiled_programs.FOLDER)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    filters = list(warnings.filters)
    with compiled_programs.kept_programs():
        assert compiled_programs.FOLDER not in os.environ
        assert list(warnings.filters) == filters


@pytest.mark.parametrize(
    ("platform", "jaxlib", "wanted"),
    [("linux", "0.9.0.1", ".cache"), ("darwin", "0.9.2", None), ("darwin", "0.12.0", "Library/Caches")],
)
def test_the_folder_is_where_the_system_has_caches(monkeypatch, platform, jaxlib, wanted):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(compiled_programs, "version", lambda name: {"jaxlib": jaxlib}[name])
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the specification says to ignore
    folder = compiled_programs.own_folder()
    assert (folder and folder.as_posix()) == (wanted and f"/home/me/{wanted}/gpjaxpot/jax")


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    for age, name in enumerate(("newest", "middle", "oldest")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    compiled_programs.tidy(tmp_path, 300)
    assert len(list(tmp_path.iterdir())) == 3
    compiled_programs.tidy(tmp_path, 250)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["middle", "newest"]
    compiled_programs.tidy(tmp_path / "missing")
