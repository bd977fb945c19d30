"""Rivals take turns, and what is counted is what each reports."""

import pytest

from benchmarks.timing import alternate, per_atom, ratios


def test_rivals_alternate_and_the_first_run_is_not_counted() -> None:
    calls = []

    def rival(name: str):
        def run() -> float:
            calls.append(name)
            return float(len(calls))

        return run

    seconds = alternate({"a": rival("a"), "b": rival("b")}, rounds=3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert seconds == {"a": [3.0, 6.0, 7.0], "b": [4.0, 5.0, 8.0]}


def test_times_are_per_atom_in_microseconds() -> None:
    assert per_atom([3e-3, 1e-3, 2e-3], atoms=10) == pytest.approx({"min": 100.0, "median": 200.0})


def test_ratios_say_how_much_longer_the_rival_takes() -> None:
    found = ratios(rival=[4.0, 8.0, 6.0], ours=[1.0, 2.0, 4.0])
    assert found == pytest.approx({"min": 4.0, "median": 3.0})
