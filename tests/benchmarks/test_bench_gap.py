"""A stored run of gap_fit stands for another one only where that would be given the same structures."""

import argparse
import json

import pytest

from benchmarks import bench_gap


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Options of a run whose record is there."""
    monkeypatch.setattr(bench_gap, "RESULTS", tmp_path)
    limits = {"structures": None, "test_structures": 100}
    record = {"limits": limits, "sets": {"LiPS": {"gap_fit": {"seconds": 523.0}, "gpjaxpot": {}}}}
    (tmp_path / "gap.json").write_text(json.dumps(record))
    return argparse.Namespace(name="gap", **limits)


def test_a_record_of_the_same_structures_is_taken(given):
    assert bench_gap.stored("LiPS", given) == {"seconds": 523.0}


@pytest.mark.parametrize(
    ("name", "changed"),
    [("water", {}), ("LiPS", {"structures": 30}), ("LiPS", {"test_structures": 5}), ("LiPS", {"name": "other"})],
)
def test_no_other_is(given, name, changed):
    assert bench_gap.stored(name, argparse.Namespace(**(vars(given) | changed))) is None
