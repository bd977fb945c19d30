"""gap_fit is told what our config says, or nothing at all."""

import copy
import tomllib
from pathlib import Path

import pytest

from benchmarks.peers.gap_fit import gap_arguments

CONFIG = Path(__file__).parents[2] / "benchmarks" / "speed" / "silicon_reference.toml"


@pytest.fixture
def config() -> dict:
    return tomllib.loads(CONFIG.read_text())


def test_every_hyperparameter_reaches_gap_fit(config: dict) -> None:
    config["kernel"]["variance"] = 0.49
    arguments = gap_arguments(config, Path("/a b/train.xyz"), Path("gap.xml"))
    # One argument each: a path with spaces needs no quotes.
    assert "atoms_filename=/a b/train.xyz" in arguments
    assert "default_sigma={0.01 0.05 0.0 0.0}" in arguments
    gap = next(word for word in arguments if word.startswith("gap="))
    expected = (
        "n_max=8 l_max=8 atom_sigma=0.5 cutoff=5.4 cutoff_transition_width=1.0 zeta=4 delta=0.7 "
        "covariance_type=dot_product n_sparse=1000 sparse_method=cur_points add_species=T"
    )
    assert gap == f"gap={{soap {expected}}}"


@pytest.mark.parametrize(
    ("section", "key", "value", "wanted"),
    [
        ("kernel", "type", "matern52", "dot_power"),
        ("noise", "energy_exponent", 1.0, "root of N"),
        ("model", "method", "exact", "sparse"),
        ("model", "selection", "farthest", "cur"),
        ("train", "stress", True, "no stresses"),
    ],
)
def test_what_gap_has_not_is_refused(config: dict, section: str, key: str, value: object, wanted: str) -> None:
    changed = copy.deepcopy(config)
    changed[section][key] = value
    with pytest.raises(ValueError, match=wanted):
        gap_arguments(changed, Path("train.xyz"), Path("gap.xml"))
