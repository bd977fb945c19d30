"""Numbers as people read them."""

import pytest

from gpjaxpot.cli import report


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0523, "0.052 s"),
        (3.04, "3.0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations(value, text):
    assert report.seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(900, "0.9 kB"), (2.34e6, "2.34 MB"), (1.5e10, "15 GB")])
def test_memory(value, text):
    assert report.memory(value) == text


def test_a_log_has_a_line_at_the_end_of_each_stage_and_now_and_then(capsys, monkeypatch):
    clock = iter([0.0, 1.0, 25.0, 26.0, 26.5, 30.0, 31.0, 33.0])
    monkeypatch.setattr(report.time, "monotonic", lambda: next(clock))
    with report.progress() as show:
        for done in (0, 1, 2, 3):
            show("rows", done, 3)
        # Ends before it has taken all the steps that it may take.
        show("levels", 1, 60)
        show("levels", 2, 60)
    assert capsys.readouterr().err.splitlines() == [
        "rows: 2 of 3, 25 s",
        "rows: done, 26 s",
        "levels: done, 3.0 s",
    ]


def test_square_brackets_are_printed_as_they_are(capsys):
    """Rich would take [bold] for an order."""
    report.line("[bold] x")
    report.pairs([("[red]", "[/red]")])
    report.texts([["a", "b"], ["[x]", "[[y]]"]])
    out = capsys.readouterr().out
    for words in ("[bold] x", "[red]", "[/red]", "[x]", "[[y]]"):
        assert words in out


def test_a_wide_table_breaks_names_and_never_numbers(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    title = ["group", *["energy MAE (meV/atom)"] * 4]
    report.numbers([title, ["a rather long name of a group", *["12345.678"] * 4]])
    out = capsys.readouterr().out
    assert out.count("12345.678") == 4
    assert max(map(len, out.splitlines())) <= 60
