"""Bad input ends with one message that names file, frame and remedy, and touches no file."""

import re

import pytest

from tests.cli.helpers import SMALL, finish, run, snapshot, start
from tests.structures.broken import ZOO

PRECIOUS = b"an older model that took a week"


def spoil(frames, number, old, new):
    """Return all frames as one text, the first match of `old` in one of them replaced."""
    spoilt, count = re.subn(old, new, frames[number], count=1)
    assert count == 1
    return "".join([*frames[:number], spoilt, *frames[number + 1 :]])


def overlap(frames, number):
    """Return all frames as one text, the second atom of one of them upon its first."""
    head, line, first, second, *rest = frames[number].splitlines(keepends=True)
    moved = " ".join([*first.split()[:4], *second.split()[4:]]) + "\n"
    spoilt = "".join([head, line, first, moved, *rest])
    return "".join([*frames[:number], spoilt, *frames[number + 1 :]])


def unlabelled(frames):
    """Return the frames with labels under names that nobody looks for."""
    text = "".join(frames)
    text = re.sub(r' stress="[^"]*"', "", text)
    return text.replace(" energy=", " dft_energy=").replace(":forces:", ":dft_forces:")


SPOILT_DATA = {
    "NaN energy": (
        lambda frames: spoil(frames, 3, r" energy=\S+", " energy=nan"),
        ["bad.xyz, frame 3", "energy", "nan", "not finite", "remove"],
    ),
    "NaN force": (
        lambda frames: spoil(frames, 2, r"\S+\n$", "nan\n"),
        ["bad.xyz, frame 2", "atom 15", "not finite", "remove"],
    ),
    "NaN stress": (
        lambda frames: spoil(frames, 1, r'stress="\S+', 'stress="nan'),
        ["bad.xyz, frame 1", "stress", "not finite", "remove"],
    ),
    "cut off": (
        lambda frames: "".join(frames)[:-400],
        ["bad.xyz, frame 7", "line"],
    ),
    "a word for a number": (
        lambda frames: spoil(frames, 4, r"\nSi \S+", "\nSi here"),
        ["bad.xyz, frame 4", "here"],
    ),
    "overlapping atoms": (
        lambda frames: overlap(frames, 5),
        ["bad.xyz, frame 5", "atoms 0 (Si) and 1 (Si)", "0.000 Å", "remove these structures"],
    ),
    "no labels": (
        unlabelled,
        ["bad.xyz", "8 structures", "--key energy=dft_energy --key forces=dft_forces"],
    ),
    "one structure twice, with two energies": (
        lambda frames: "".join(frames) + re.sub(r" energy=\S+", " energy=-1.0", frames[0]),
        ["bad.xyz, frame 0", "bad.xyz, frame 8", "energy", "keep the right one"],
    ),
    "empty": (lambda frames: "", ["bad.xyz is empty"]),
}


def refused(result, *fragments):
    """Check that a run ended with one message, in which all the fragments stand."""
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("error") == 1
    assert "Traceback" not in result.output
    for fragment in fragments:
        assert fragment in result.stderr


@pytest.mark.parametrize("name", SPOILT_DATA)
@pytest.mark.parametrize("command", ["check", "fit"])
def test_data_that_must_not_be_fitted(name, command, train_frames, tmp_path):
    change, fragments = SPOILT_DATA[name]
    bad, model = tmp_path / "bad.xyz", tmp_path / "model.safetensors"
    bad.write_text(change(train_frames))
    model.write_bytes(PRECIOUS)
    before = snapshot(tmp_path)
    words = ["fit", bad, "--output", model, *SMALL] if command == "fit" else ["check", bad]
    refused(run(*words), *fragments)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["--method", "scales"], ["one of auto, scale, conformal", "'scales'"]),
        (["--level", "90"], ["between 0 and 1, such as 0.9, got 90.0"]),
        (["--method", "flexible"], ["takes at least 20 structures"]),
    ],
    ids=["method", "level", "too few"],
)
def test_calibrations_that_cannot_be(words, fragments, files, tmp_path):
    out = tmp_path / "m.safetensors"
    out.write_bytes(PRECIOUS)
    before = snapshot(tmp_path)
    refused(run("calibrate", files.model, files.test, "--output", out, *words), *fragments)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["--interval", "95"], ["between 0 and 1"]),
        (["--interval", "0.9", "--no-uncertainty"], ["contradict each other"]),
    ],
    ids=["level", "none"],
)
def test_intervals_that_cannot_be(words, fragments, files, tmp_path):
    refused(run("predict", files.model, files.test, "--output", tmp_path / "o.xyz", *words), *fragments)


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (
            lambda frames: spoil(frames, 6, r"\nSi ", "\nGe "),
            ["bad.xyz, frame 6", "atom 0 is Ge", "knows Si", "fit it with data of Ge"],
        ),
        (
            lambda frames: overlap(frames, 5),
            ["bad.xyz, frame 5", "atoms 0 (Si) and 1 (Si)", "remove these structures"],
        ),
        (lambda frames: "".join(frames)[:-400], ["bad.xyz, frame 7", "line"]),
    ],
    ids=["unknown species", "overlapping atoms", "cut off"],
)
def test_data_that_cannot_be_predicted(command, change, fragments, files, train_frames, tmp_path):
    bad, out = tmp_path / "bad.xyz", tmp_path / "out.xyz"
    bad.write_text(change(train_frames))
    out.write_bytes(PRECIOUS)
    before = snapshot(tmp_path)
    option = "--json" if command == "evaluate" else "--output"
    refused(run(command, files.model, bad, option, out), *fragments)
    assert snapshot(tmp_path) == before


def test_test_data_are_looked_at_before_the_fit(files, train_frames, tmp_path):
    bad, model = tmp_path / "bad.xyz", tmp_path / "model.safetensors"
    bad.write_text(spoil(train_frames, 6, r"\nSi ", "\nGe "))
    result = run("fit", files.train, "--test", bad, "--output", model, *SMALL)
    refused(result, "bad.xyz, frame 6", "atom 0 is Ge")
    assert not model.exists()


def test_gradients_for_forces_are_refused(tmp_path):
    """Enough structures to be sure: the command says what is wrong, and fits nothing."""
    bad, model = tmp_path / "bad.xyz", tmp_path / "model.safetensors"
    bad.write_text(ZOO["forces are gradients"].text())
    for words in (["check", bad], ["fit", bad, "--output", model, *SMALL]):
        refused(run(*words), "sign of gradients", "multiply the forces by -1")
    assert not model.exists()


def test_nothing_to_train_on_is_refused(files, tmp_path):
    model = tmp_path / "model.safetensors"
    off = [word for name in ("energies", "forces", "stress") for word in ("--set", f"train.{name}=false")]
    refused(run("fit", files.train, "--output", model, *SMALL, *off), "no label", "switch on")
    assert not model.exists()


def test_test_structures_among_the_training_data_are_told(files, train_frames, tmp_path):
    test, model = tmp_path / "test.xyz", tmp_path / "model.safetensors"
    test.write_text(train_frames[2] + files.test.read_text())
    result = run("fit", files.train, "--test", test, "--output", model, *SMALL)
    assert result.exit_code == 0
    assert "1 of 4 test structures stand in the training data" in " ".join(result.stdout.split())


SPOILT_MODEL = {
    "truncated": lambda content: content[: len(content) // 2],
    "cut to its first bytes": lambda content: content[:5],
    "empty": lambda content: b"",
    "a byte changed in the numbers": lambda content: content[:-100] + bytes([content[-100] ^ 1]) + content[-99:],
    "a byte changed in the header": lambda content: content[:50] + b"\xff" + content[51:],
    "something else": lambda content: b"hello, world\n" * 100,
    "an endless header": lambda content: b"\xff" * 8 + content[8:],
}


@pytest.mark.parametrize("name", SPOILT_MODEL)
@pytest.mark.parametrize("command", ["evaluate", "predict", "info"])
def test_model_files_that_cannot_be_used(name, command, files, tmp_path):
    model, out = tmp_path / "spoilt.safetensors", tmp_path / "out.xyz"
    model.write_bytes(SPOILT_MODEL[name](files.model.read_bytes()))
    out.write_bytes(PRECIOUS)
    before = snapshot(tmp_path)
    words = {
        "evaluate": [files.test, "--json", out],
        "predict": [files.test, "--output", out],
        "info": [],
    }
    refused(run(command, model, *words[command]), "spoilt.safetensors")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("command", ["evaluate", "predict", "info"])
def test_a_model_that_is_not_there(command, files, tmp_path):
    words = {"evaluate": [files.test], "predict": [files.test, "-o", tmp_path / "o.xyz"]}
    for model in (tmp_path / "none.safetensors", tmp_path):
        result = run(command, model, *words.get(command, []))
        refused(result, str(model))


@pytest.mark.parametrize(
    ("place", "fragment"),
    [("missing/model.xyz", "No such file or directory"), (".", "is a directory")],
)
@pytest.mark.parametrize("command", ["fit", "predict", "evaluate", "demo"])
def test_a_place_that_cannot_be_written(command, place, fragment, files, tmp_path):
    out = tmp_path / place
    before = snapshot(tmp_path)
    if command == "demo":
        out = tmp_path / "file"
        out.write_bytes(PRECIOUS)
        before, fragment = snapshot(tmp_path), "File exists"
    words = {
        "fit": [files.train, "--output", out, *SMALL],
        "predict": [files.model, files.test, "--output", out],
        "evaluate": [files.model, files.test, "--json", out],
        "demo": ["--output", out],
    }
    result = run(command, *words[command])
    refused(result, str(out), fragment)
    # Said at once, before the data are read.
    assert result.stdout == ""
    assert snapshot(tmp_path) == before


def test_an_input_is_never_overwritten(files, tmp_path):
    before = snapshot(files.train.parent)
    for words in (
        ["fit", files.train, "--output", files.train],
        ["fit", files.train, "--test", files.test, "--output", files.test],
        ["predict", files.model, files.test, "--output", files.test],
        ["evaluate", files.model, files.test, "--json", files.model],
    ):
        refused(run(*words), "would be overwritten", "name another file")
    link = tmp_path / "link.xyz"
    link.symlink_to(files.train)
    refused(run("fit", files.train, "--output", link), "would be overwritten")
    assert snapshot(files.train.parent) == before


def test_predictions_go_to_extended_xyz_only(files, tmp_path):
    result = run("predict", files.model, files.test, "--output", tmp_path / "out.traj")
    refused(result, "extended XYZ", "out.xyz")


@pytest.mark.parametrize("command", ["fit", "estimate"])
def test_an_unknown_setting_gets_the_nearest_known_one(command, files, tmp_path):
    config = tmp_path / "fit.toml"
    config.write_text("[kernel]\nzetta = 4.0\n")
    out = ["--output", tmp_path / "m.safetensors"] if command == "fit" else []
    before = snapshot(tmp_path)
    refused(
        run(command, files.train, *out, "--config", config),
        "fit.toml", "kernel.zetta", "did you mean 'zeta'?", "gpjaxpot template",
    )  # fmt: skip
    result = run(command, files.train, *out, "--set", "descriptor.nmax=4")
    refused(result, "nmax", "did you mean 'n_max'?")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("[kernel\n", "not TOML"),
        ("[kernel]\nzeta = 'four'\n", "zeta"),
        ("[train]\nseed = -1\n", "seed"),
    ],
)
def test_a_config_that_cannot_be_used(text, fragment, files, tmp_path):
    config = tmp_path / "fit.toml"
    config.write_text(text)
    refused(run("estimate", files.train, "--config", config), "fit.toml", fragment)
    refused(run("estimate", files.train, "--config", tmp_path / "no.toml"), "no.toml")


@pytest.mark.parametrize("word", ["energy", "=dft_energy", "energie=dft_energy"])
def test_a_key_that_says_nothing(word, files):
    refused(run("check", files.train, "--key", word), word.split("=")[0] or word)


def test_a_missing_file_gets_the_nearest_name(files):
    result = run("check", files.train.with_name("trian.xyz"))
    refused(result, "there is no file", "did you mean 'train.xyz'?")


def test_the_process_ends_with_the_message_and_no_traceback(train_frames, tmp_path):
    bad = tmp_path / "bad.xyz"
    bad.write_text(overlap(train_frames, 5))
    status, _, stderr = finish(start("check", bad))
    assert status == 2
    assert stderr.startswith("error: these data must not be fitted:")
    assert "Traceback" not in stderr


@pytest.mark.parametrize("words", [["fot"], ["fit"], ["fit", "x.xyz"], ["info", "a", "--jsn"]])
def test_wrong_words_end_with_status_2(words):
    result = run(*words)
    assert result.exit_code == 2
    assert "Usage" in result.stderr
