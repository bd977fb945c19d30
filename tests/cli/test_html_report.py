"""`gpjaxpot report` writes page, numbers and pictures, or one message and nothing."""

import json

import pytest

from tests.cli.helpers import run, snapshot


def refused(result, *fragments):
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    for fragment in fragments:
        assert fragment in result.stderr


def test_report_writes_the_page_the_numbers_of_evaluate_and_the_figures(files, tmp_path):
    page, numbers, pictures = tmp_path / "report.html", tmp_path / "report.json", tmp_path / "pictures"
    result = run("report", files.model, files.test, "--output", page, "--json", numbers, "--figures", pictures)
    assert result.exit_code == 0, result.output
    for path in (page, numbers, pictures):
        assert str(path) in result.stdout
    text = page.read_text("utf-8")
    assert f"Test of {files.model.name}" in text
    record = json.loads(numbers.read_text("utf-8"))
    scores = tmp_path / "scores.json"
    assert run("evaluate", files.model, files.test, "--json", scores).exit_code == 0
    expected = json.loads(scores.read_text("utf-8"))
    del expected["seconds_per_atom"]
    assert record["evaluation"] == expected
    assert record["model"]["fingerprint"] in text
    assert sorted(path.stem for path in pictures.iterdir()) == sorted(
        name for name in text.split('id="figure-')[1:] for name in [name.split('"')[0]]
    )


def test_raw_spreads_are_called_so(files, tmp_path):
    page = tmp_path / "report.html"
    assert run("report", files.model, files.test, "--output", page, "--raw").exit_code == 0
    assert "raw: not calibrated" in page.read_text("utf-8")


def test_bad_input_is_refused_and_nothing_is_written(files, tmp_path, monkeypatch):
    page = tmp_path / "report.html"
    copy = tmp_path / "data.html"
    copy.write_bytes(files.test.read_bytes())
    (tmp_path / "file").write_text("kept")
    before = snapshot(tmp_path)
    words = ["report", files.model, files.test, "--output"]
    refused(run(*words, tmp_path / "report.pdf"), "report.html")
    refused(run("report", files.model, copy, "--output", copy), "is read and would be overwritten")
    refused(run(*words, page, "--json", files.model), "is read and would be overwritten")
    refused(run(*words, page, "--json", page), "named twice")
    refused(run(*words, page, "--figures", tmp_path / "file"), "is no folder that can be written")
    refused(run(*words, tmp_path / "nowhere" / "report.html"), "cannot write")
    unlabelled = tmp_path / "file"
    refused(run("report", files.model, unlabelled, "--output", page), "file")
    monkeypatch.setattr("gpjaxpot.applications.figures.can_plot", lambda: False)
    refused(run(*words, page), "pip install 'gpjaxpot[plot]'")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("word", ["--output", "DATA"])
def test_help_says_what_is_wanted(word):
    result = run("report", "--help")
    assert word in result.stdout
    assert "Example: gpjaxpot report" in result.stdout
