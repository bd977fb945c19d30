"""`import gpjaxpot` is light and changes nothing; what it exports is found when it is asked for."""

import importlib.metadata
import json
import subprocess
import sys

import gpjaxpot

# Seconds of import each, or of no use without a user who asks: found lazily or inside functions.
HEAVY = {"ase", "blackjax", "matplotlib", "rich", "sklearn", "typer"}

PROGRAM = """
import json, os, sys
import jax
def switches():
    return {name: repr(value) for name, value in jax.config.values.items()}
before, environment = switches(), dict(os.environ)
import gpjaxpot
after = switches()
print(json.dumps({
    "changed": sorted(name for name in after if after[name] != before.get(name)),
    "environment": sorted(set(dict(os.environ).items()) ^ set(environment.items())),
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
}))
"""


def test_import_sets_no_switch_and_loads_nothing_heavy() -> None:
    # In a process of its own: this one has loaded and set what the tests need.
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["changed"] == []
    assert found["environment"] == []
    assert HEAVY.isdisjoint(found["modules"])


def test_every_public_name_is_found_and_explains_itself() -> None:
    assert gpjaxpot.__doc__
    for name in gpjaxpot.__all__:
        assert name in dir(gpjaxpot)
        assert getattr(gpjaxpot, name).__doc__, f"gpjaxpot.{name} has no docstring"


def test_version_is_that_of_the_distribution() -> None:
    assert gpjaxpot.__version__ == importlib.metadata.version("gpjaxpot")


def test_a_prediction_waits_for_no_library_that_it_does_not_use() -> None:
    """Else a command's first answer comes a second later."""
    unused = ("scipy.stats", "optax")
    program = f"import sys, gpjaxpot.potential.potential; print([m for m in {unused} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
