"""Tables align their columns and shorten their numbers."""

from benchmarks.table import table


def test_columns_are_as_wide_as_their_widest_entry() -> None:
    lines = table(["name", "value"], [["a", 1.23456], ["long name", 12345.6], ["none", None]])
    assert lines.splitlines() == [
        "| name      | value |",
        "|-----------|-------|",
        "| a         | 1.235 |",
        "| long name | 12346 |",
        "| none      | –     |",
    ]
