"""Every notebook runs from its first cell to its last, and is stored without outputs."""

import ast
import importlib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
# The first is run by `make test`, the others, of minutes, by `make test-slow`.
RUN = [NOTEBOOKS[0], *(pytest.param(path, marks=pytest.mark.slow) for path in NOTEBOOKS[1:])]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path: Path) -> None:
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "code":
            assert not cell.outputs, f"cell {number} of {path.name} holds outputs: clear them"
            assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_takes_of_the_package_is_there(path: Path) -> None:
    """Those that run in `make test-slow` alone must not wait for that to learn of a name that was moved."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lines = [line for cell in cells for line in cell.splitlines() if not line.startswith(("%", "!"))]
    modules, used = {}, 0
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Import):
            own = [n for n in node.names if n.asname and n.name.startswith("gpjaxpot")]
            modules |= {n.asname: importlib.import_module(n.name) for n in own}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gpjaxpot"):
            module = importlib.import_module(node.module)
            assert [n.name for n in node.names if not hasattr(module, n.name)] == []
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), ast.unparse(node)
            used += 1
    assert used > 0


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    # In a folder of its own, where it may write.
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
