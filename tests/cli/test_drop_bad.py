"""--drop-bad leaves bad structures out, and never without a word; without it nothing is left out."""

import re

import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.potential.record import fingerprint
from gpjaxpot.structures.io import read
from tests.cli.helpers import SMALL, run, snapshot
from tests.cli.test_bad_input import overlap, refused, spoil
from tests.structures.broken import ZOO


def words(result):
    """Return what was printed, without line breaks."""
    return " ".join(result.stdout.split())


@pytest.fixture
def spoilt(train_frames, tmp_path):
    """A file whose frame 3 cannot be read and whose frame 5 has overlapping atoms."""
    frames = list(train_frames)
    frames[3] = re.sub(r" energy=\S+", " energy=nan", frames[3], count=1)
    path = tmp_path / "bad.xyz"
    path.write_text(overlap(frames, 5))
    return path


def test_check_tells_and_writes_what_it_leaves_out(spoilt, tmp_path):
    out = tmp_path / "rejected.xyz"
    data = spoilt.read_bytes()
    result = run("check", spoilt, "--drop-bad", out)
    assert result.exit_code == 0
    text = words(result)
    assert "Left out: 2 of 8 structures" in text
    assert "frame 3" in text
    assert "energy is nan" in text
    assert "frame 5" in text
    assert "atoms 0 (Si) and 1 (Si), 0.000 Å" in text
    assert "What is left can be fitted." in text
    assert str(out) in result.stdout
    assert out.read_text().count("rejected=") == 2
    assert spoilt.read_bytes() == data
    # The same command again takes its own file for what it is.
    assert run("check", spoilt, "--drop-bad", out).exit_code == 0


def test_fit_is_to_the_rest(spoilt, train_frames, tmp_path, monkeypatch):
    taken = []

    def not_fitted(frames, settings, output):
        taken.extend(frames)
        raise InputError("enough seen")

    monkeypatch.setattr("gpjaxpot.cli.fit._fit_or_say_how_to_resume", not_fitted)
    out, rest = tmp_path / "rejected.xyz", tmp_path / "rest.xyz"
    result = run("fit", spoilt, "--output", tmp_path / "m.safetensors", "--drop-bad", out, *SMALL)
    refused(result, "enough seen")
    assert "Left out: 2 of 8 structures" in words(result)
    assert out.read_text().count("rejected=") == 2
    rest.write_text("".join(train_frames[i] for i in (0, 1, 2, 4, 6, 7)))
    assert fingerprint(taken) == fingerprint(read(rest))


def test_sound_data_lose_nothing_and_no_file_is_written(files, tmp_path):
    out = tmp_path / "rejected.xyz"
    result = run("check", files.train, "--drop-bad", out)
    assert result.exit_code == 0
    assert "No structure has to be left out" in words(result)
    assert "8 structures" in words(result)
    assert not out.exists()


def test_faults_of_the_whole_set_are_refused_all_the_same(tmp_path):
    bad, out = tmp_path / "bad.xyz", tmp_path / "rejected.xyz"
    faults = {"forces are gradients": "sign of gradients", "positions in nm": "12 of 12 structures would be left out"}
    for name, word in faults.items():
        bad.write_text(ZOO[name].text())
        result = run("check", bad, "--drop-bad", out)
        refused(result, word)
        assert not out.exists()


def test_without_the_option_the_refusal_names_it(spoilt, train_frames, tmp_path):
    refused(run("check", spoilt), "frame 3", "energy is nan")
    spoilt.write_text(overlap(train_frames, 5))
    refused(run("check", spoilt), "frame 5", "or leave them out: --drop-bad rejected.xyz")
    spoilt.write_text(ZOO["forces are gradients"].text())
    assert "--drop-bad" not in run("check", spoilt).stderr


@pytest.mark.parametrize("command", ["check", "fit"])
def test_no_file_is_written_over(command, spoilt, files, tmp_path):
    other, model = tmp_path / "other.xyz", tmp_path / "m.safetensors"
    other.write_bytes(files.test.read_bytes())
    before = snapshot(tmp_path)
    rest = ["--output", model, *SMALL] if command == "fit" else []
    refused(run(command, spoilt, "--drop-bad", other, *rest), "other.xyz is there already", "name another")
    refused(run(command, spoilt, "--drop-bad", spoilt, *rest), "would be overwritten")
    refused(run(command, spoilt, "--drop-bad", tmp_path / "no" / "r.xyz", *rest), "No such file")
    if command == "fit":
        refused(run(command, spoilt, "--drop-bad", model, *rest), "named twice")
        refused(run(command, spoilt, "--drop-bad", other, "--test", other, *rest), "would be overwritten")
    assert snapshot(tmp_path) == before


def test_bad_test_structures_are_refused_as_ever(spoilt, files, train_frames, tmp_path):
    test = tmp_path / "test.xyz"
    test.write_text(spoil(train_frames, 2, r" energy=\S+", " energy=nan"))
    out, model = tmp_path / "rejected.xyz", tmp_path / "m.safetensors"
    result = run("fit", spoilt, "--output", model, "--test", test, "--drop-bad", out, *SMALL)
    refused(result, "test.xyz, frame 2", "energy is nan")
    assert not out.exists()
