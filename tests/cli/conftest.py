"""Small files of real silicon, and one model that the command fitted to them, for every test."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.helpers import SMALL, dataset_frames, run

# Every shape of structure there is, the smallest of each kind.
TRAIN_FRAMES = (9, 10, 11, 12, 13, 0, 14, 30)
TEST_FRAMES = (3, 2, 10)


@dataclass(frozen=True)
class Files:
    """Eight structures to fit, three to test, the model of them and what the fit printed."""

    train: Path
    test: Path
    model: Path
    printed: str


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    # A space in the path, as people have them.
    folder = tmp_path_factory.mktemp("silicon files")
    train, test, model = folder / "train.xyz", folder / "test.xyz", folder / "si.safetensors"
    train.write_text("".join(dataset_frames("silicon_train")[i] for i in TRAIN_FRAMES))
    test.write_text("".join(dataset_frames("silicon_test")[i] for i in TEST_FRAMES))
    result = run("fit", train, "--output", model, "--test", test, *SMALL)
    assert result.exit_code == 0, result.output
    return Files(train, test, model, result.stdout)


@pytest.fixture
def train_frames():
    """Texts of the eight training structures, to be spoilt."""
    frames = dataset_frames("silicon_train")
    return [frames[i] for i in TRAIN_FRAMES]
