"""The benchmark of the data doctor counts what is named, silent and wrong; nothing is wrong of the shipped data."""

import pytest

from benchmarks.bench_check import FAULTS, diagnose, spoilt
from gpjaxpot.datasets import lithium, silicon


@pytest.mark.parametrize("data", [silicon, lithium])
def test_no_fault_of_the_shipped_data_gets_a_wrong_name(data):
    answers = diagnose(data()[1])
    assert set(answers) == set(FAULTS)
    assert not [answer for answer in answers.values() if answer.startswith("WRONG")]
    # Twelve structures are enough for nearly all of them.
    assert sum(answer in {"named", "among others"} for answer in answers.values()) >= len(FAULTS) - 1


def test_spoiling_changes_one_label_only():
    frame = lithium()[1][0]
    changed = spoilt(frame, "forces", -1.0)
    assert (changed.labels.forces == -frame.labels.forces).all()
    assert changed.labels.energy == frame.labels.energy
    assert (changed.labels.stress == frame.labels.stress).all()
