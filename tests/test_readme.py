"""What the README shows works as it stands there."""

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ase")
def test_python_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # What a fit of minutes does besides takes minutes, and is tested by itself.
    for module in ("learned_kernel", "noise_shape", "refinement_plan"):
        monkeypatch.setattr(f"gpjaxpot.potential.{module}.QUICK", float("inf"))
    monkeypatch.setattr("gpjaxpot.potential.budget.MOST_INDUCING", 200)
    for bound in ("LEAST", "MOST"):
        monkeypatch.setattr(f"gpjaxpot.potential.held_out.{bound}", 8)
    monkeypatch.setattr("gpjaxpot.potential.levels.STEPS", 6)
    # Notebooks and the demonstration compile the basis that is usual.
    monkeypatch.setattr("gpjaxpot.potential.choices.FINE", (5, 4))
    names = {}
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), names)  # noqa: S102
    gp = names["gp"]
    assert gp.Potential.load("silicon.safetensors").summary()["n_structures"] == len(names["train"])
    assert names["prediction"].forces_std.shape == names["prediction"].forces.shape
    assert names["values"].shape == (100, len(names["joint"].mean))
