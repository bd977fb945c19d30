"""What holds for every test: float64, one compilation cache, and no accelerator taken for granted.

Nothing here may import gpjaxpot while pytest starts; fixtures import it inside.
"""

import os
from collections.abc import Iterator
from pathlib import Path

# Commands and notebooks that tests start inherit both. Set before JAX is imported, as it reads
# them then.
_CACHE = Path(__file__).parent.parent / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_CACHE))
os.environ.setdefault("MPLBACKEND", "Agg")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_enable_x64", True)
# Again by the switch: a pytest plug-in may have imported JAX before the environment was set.
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])


# A process may have 65 530 memory maps, and each compiled program takes some: beyond, the compiler aborts.
_MAPS = Path("/proc/self/maps")
_MOST_MAPS = 20_000


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Forgets, between files, what was compiled, if that has become much."""
    yield
    if _MAPS.exists() and len(_MAPS.read_bytes().splitlines()) > _MOST_MAPS:
        jax.clear_caches()


_LONG = ("test_notebooks", "test_readme", "test_demo")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take minutes first, and skips what needs an accelerator where there is none."""
    # Files are dealt to the test processes in this order: begun last, one would run on alone.
    items.sort(key=lambda item: _LONG.index(item.path.stem) if item.path.stem in _LONG else len(_LONG))
    if not any(item.get_closest_marker("gpu") for item in items):
        return
    if jax.default_backend() != "cpu":
        return
    skip = pytest.mark.skip(reason="needs an accelerator; JAX sees only the CPU")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)
