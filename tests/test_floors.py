"""Imports point downwards only, as pyproject.toml declares, and the declaration has teeth."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter on the package in `folder`, by the contracts that lie beside it."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def package_copy(tmp_path: Path) -> Path:
    """A folder with a copy of the package and of its contracts, free to be spoilt."""
    ignore = shutil.ignore_patterns("__pycache__", "*.xyz")
    shutil.copytree(ROOT / "gpjaxpot", tmp_path / "gpjaxpot", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_floors_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("kernels/upwards.py", "import gpjaxpot.potential", "gpjaxpot.kernels.upwards"),
        ("structures/upwards.py", "from gpjaxpot import plots", "gpjaxpot.structures.upwards"),
        ("gp/terminal.py", "import rich", "gpjaxpot.gp.terminal"),
        ("drawer.py", "", "gpjaxpot.drawer"),
    ],
    ids=["upwards", "to plots", "to the terminal", "a module on no floor"],
)
def test_a_breach_is_found_and_named(
    package_copy: Path, file: str, line: str, broken: str
) -> None:
    (package_copy / "gpjaxpot" / file).write_text(line + "\n")
    result = lint_imports(package_copy)
    assert result.returncode == 1
    assert broken in result.stdout + result.stderr
