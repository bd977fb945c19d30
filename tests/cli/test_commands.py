"""What each command prints and writes, on real silicon."""

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace

import numpy as np
from ase.io import read as ase_read

import gpjaxpot
from tests.cli.helpers import ROOT, SMALL, finish, run, snapshot, start

COMMANDS = ("demo", "check", "estimate", "fit", "evaluate", "report", "predict", "calibrate", "info", "template")


def last_line(words, then, **environment):
    """Run the command in a process of its own, then one more statement; return what that says."""
    program = f"import sys\nfrom gpjaxpot.cli.app import app\ntry: app({words!r})\nexcept SystemExit: pass\n{then}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        check=True,
    )
    return done.stdout.splitlines()[-1]


def widest(text):
    return max(map(len, text.splitlines()))


def test_help_names_all_commands_and_each_help_has_an_example():
    result = run("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert command in result.stdout
        helped = run(command, "--help")
        assert helped.exit_code == 0
        assert f"Example: gpjaxpot {command}" in helped.stdout
        assert widest(helped.stdout) <= 80


def test_version_is_that_of_the_package():
    assert run("--version").stdout == f"gpjaxpot {gpjaxpot.__version__}\n"


def test_help_loads_neither_jax_nor_ase():
    """Else it would take seconds; the command loads what it needs when it runs."""
    heavy = ("jax", "ase", "numpy", "sklearn", "matplotlib")
    said = last_line(["fit", "--help"], f"print([m for m in {heavy} if m in sys.modules])")
    assert said == "[]"


def test_the_command_turns_float64_on(files):
    """Even where the environment says otherwise: a fit in float32 would be wrong."""
    said = last_line(
        ["info", str(files.model)],
        "import jax.numpy as jnp; print(jnp.zeros(1).dtype)",
        JAX_ENABLE_X64="0",
    )
    assert said == "float64"


def test_check_tells_what_was_read_and_finds_real_data_sound(files):
    result = run("check", files.train)
    assert result.exit_code == 0
    for words in ("8 structures", "299 atoms", "eV/Å", "These data can be fitted."):
        assert words in result.stdout


def test_check_tells_which_settings_the_data_do_not_support(files, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("[noise]\nenergy = 1e-6\n")
    result = run("check", files.train, "--config", config, "--set", "descriptor.cutoff=2.0")
    assert result.exit_code == 0
    assert "energy σ" in result.stdout
    assert "does not reach" in result.stdout
    assert "energy σ" not in run("check", files.train).stdout


def test_check_reads_several_files_and_named_keys(files, tmp_path):
    renamed = tmp_path / "renamed.xyz"
    renamed.write_text(files.train.read_text().replace(" energy=", " total="))
    result = run("check", renamed, files.test, "--key", "energy=total")
    assert result.exit_code == 0
    assert "11 structures" in result.stdout
    assert re.search(r"energy +8 structures \(key total; eV\)", result.stdout)


def test_estimate_gives_memory_and_time_of_the_settings(files):
    result = run("estimate", files.train, *SMALL)
    assert result.exit_code == 0
    assert "sparse" in result.stdout
    assert "30" in result.stdout
    assert re.search(r"\d (k|M|G)B", result.stdout)


def test_template_is_a_config_of_defaults(files, tmp_path):
    result = run("template")
    assert result.exit_code == 0
    assert tomllib.loads(result.stdout)["kernel"]["zeta"] == "auto"
    config = tmp_path / "all.toml"
    config.write_text(result.stdout)
    assert run("estimate", files.train, "--config", config).exit_code == 0


def test_fit_prints_data_choices_and_errors(files):
    for title in ("Training data", "Test data", "Findings", "Choices", "Training errors"):
        assert f"\n{title}\n" in files.printed
    assert "\nTest errors\n" in files.printed
    assert re.search(r"wrote .*si\.safetensors \(.*B; the fit took .* s\)", files.printed)
    # Everything but the paths fits 80 columns.
    assert widest(re.sub(r".*(read|wrote) .*\n", "", files.printed)) <= 80
    names = {path.name for path in files.model.parent.iterdir()}
    assert names == {"train.xyz", "test.xyz", "si.safetensors"}


def test_a_config_file_says_the_same_as_set(files, tmp_path):
    """Same settings, same data, same seed: the same energies to the last bit, whichever way they are said."""
    config = tmp_path / "fit.toml"
    config.write_text(
        "[[descriptor]]\nn_max = 3\nl_max = 2\ncutoff = 3.5\nsigma = 0.5\nradial_scale = 'none'\n"
        "[model]\nmethod = 'sparse'\nn_inducing = 30\n"
    )
    model = tmp_path / "si.safetensors"
    result = run("fit", files.train, "-o", model, "--config", config, "--seed", "0")
    assert result.exit_code == 0
    frames = gpjaxpot.read(files.test)
    said = [gpjaxpot.Potential.load(path).predict(frames) for path in (files.model, model)]
    assert [p.energy for p in said[0]] == [p.energy for p in said[1]]


def test_seed_is_that_of_the_settings(files, tmp_path):
    model = tmp_path / "si.safetensors"
    assert run("fit", files.train, "-o", model, "--seed", "7", *SMALL).exit_code == 0
    assert json.loads(run("info", model, "--json").stdout)["settings"]["train"]["seed"] == 7


def test_evaluate_prints_tables_and_writes_json(files, tmp_path):
    out = tmp_path / "scores.json"
    result = run("evaluate", files.model, files.test, "--json", out)
    assert result.exit_code == 0
    assert widest(re.sub(r".*(read|wrote|Errors) .*\n", "", result.stdout)) <= 80
    assert "was fitted to" not in result.stdout
    scores = json.loads(out.read_text())
    assert f"{scores['energy_mae_meV_per_atom']:.2f}" in result.stdout
    assert f"{scores['forces_rmse_eV_per_A']:.4f}" in result.stdout
    assert f"{100 * scores['uncertainty']['forces']['coverage']['0.9']:.1f} %" in result.stdout
    assert set(scores["groups"]) == {"Surface", "Elastic"}
    # One number of the file, worked out beside it.
    potential = gpjaxpot.Potential.load(files.model)
    frames = ase_read(files.test, ":")
    error = [np.abs(potential.predict(a).forces - a.get_forces()).ravel() for a in frames]
    mae = np.mean(np.concatenate(error))
    np.testing.assert_allclose(scores["forces_mae_eV_per_A"], mae, rtol=1e-9)


def test_evaluate_without_uncertainty_leaves_it_out(files, tmp_path):
    out = tmp_path / "scores.json"
    words = ["evaluate", files.model, files.test, "--json", out, "--no-uncertainty"]
    result = run(*words)
    assert result.exit_code == 0
    assert json.loads(out.read_text())["uncertainty"] is None
    assert "covers" not in result.stdout


def test_evaluate_scores_what_is_calibrated_and_what_is_raw(files, tmp_path):
    out = tmp_path / "scores.json"
    calibrated = run("evaluate", files.model, files.test, "--json", out).stdout
    raw = run("evaluate", files.model, files.test, "--raw").stdout
    scores = json.loads(out.read_text())
    assert scores["calibration"]["method"] == "scale"
    for printed, key, words in (
        (calibrated, "uncertainty", "calibrated (scale, on"),
        (raw, "uncertainty_raw", "raw: not calibrated"),
    ):
        assert words in printed
        assert f"{scores[key]['forces']['z_variance']:.2f}" in printed
    assert scores["uncertainty"]["forces"] != scores["uncertainty_raw"]["forces"]


def test_predict_writes_what_the_potential_says(files, tmp_path):
    out = tmp_path / "predicted.xyz"
    result = run("predict", files.model, files.test, "--output", out)
    assert result.exit_code == 0
    assert f"wrote  {out}" in result.stdout
    frames = gpjaxpot.read(files.test)
    potential = gpjaxpot.Potential.load(files.model)
    for atoms, frame in zip(ase_read(out, ":"), frames, strict=True):
        said = potential.predict(frame, uncertainty=True)
        # Text with all digits; the same compiled function made both.
        np.testing.assert_allclose(atoms.info["GPJ_energy"], said.energy, rtol=1e-12)
        np.testing.assert_allclose(atoms.arrays["GPJ_forces"], said.forces, atol=1e-9)
        for name in ("energy", "forces", "stress"):
            fields = {"": "uncertainty", "_raw": "std", "_epistemic": "epistemic_std", "_aleatoric": "aleatoric_std"}
            for ending, field in fields.items():
                key = f"GPJ_{name}_uncertainty{ending}"
                value = atoms.info.get(key, atoms.arrays.get(key))
                expected = getattr(said, f"{name}_{field}")
                assert (value is None) == (expected is None)
                if value is not None:
                    np.testing.assert_allclose(value, expected, rtol=1e-6, err_msg=key)
        assert atoms.info["REF_energy"] == frame.labels.energy


def test_predict_takes_structures_without_labels(files, tmp_path):
    bare, out = tmp_path / "bare.xyz", tmp_path / "out.xyz"
    atoms = ase_read(files.test, "0")
    atoms.calc = None
    atoms.write(bare, columns=["symbols", "positions"])
    result = run("predict", files.model, bare, "-o", out, "--no-uncertainty")
    assert result.exit_code == 0
    written = ase_read(out)
    assert "GPJ_energy" in written.info
    assert not any("uncertainty" in key for key in [*written.info, *written.arrays])


def test_predict_writes_intervals_and_raw_spreads_when_asked(files, tmp_path):
    out = tmp_path / "predicted.xyz"
    assert run("predict", files.model, files.test, "--output", out, "--interval", "0.9").exit_code == 0
    said = gpjaxpot.Potential.load(files.model).predict(gpjaxpot.read(files.test)[0], uncertainty=True)
    atoms = ase_read(out, "0")
    np.testing.assert_allclose(atoms.arrays["GPJ_forces_halfwidth_0.9"], said.half_width("forces", 0.9), rtol=1e-6)
    assert str(atoms.info["GPJ_calibrated"]).split() == ["energy", "forces", "stress"]
    result = run("predict", files.model, files.test, "--output", out, "--raw")
    assert "raw: not calibrated" in result.stdout
    atoms = ase_read(out, "0")
    np.testing.assert_allclose(atoms.arrays["GPJ_forces_uncertainty"], said.forces_std, rtol=1e-6)
    assert "GPJ_calibrated" not in atoms.info


def test_calibrate_writes_another_model_that_says_where_its_uncertainties_come_from(files, tmp_path):
    made = tmp_path / "calibrated.safetensors"
    before = files.model.read_bytes()
    result = run("calibrate", files.model, files.train, "--output", made, "--method", "scale")
    assert result.exit_code == 0
    assert "calibrated (scale, on train.xyz)" in result.stdout
    # It was fitted to these, which is done and told.
    assert "the model was fitted to" in result.stdout
    assert files.model.read_bytes() == before
    summary = json.loads(run("info", made, "--json").stdout)
    assert summary["calibration"]["source"] == "train.xyz"
    old, new = (gpjaxpot.Potential.load(m).predict(gpjaxpot.read(files.test)[0]) for m in (files.model, made))
    assert old.energy == new.energy


def test_info_tells_an_estimated_evidence_with_its_error(files, tmp_path):
    potential = gpjaxpot.Potential.load(files.model)
    estimated = {"log_marginal_likelihood": -1234.5, "log_marginal_likelihood_standard_error": 2.34}
    replace(potential, record=potential.record | estimated).save(tmp_path / "model.safetensors")
    text = run("info", tmp_path / "model.safetensors").stdout
    assert "-1234.5 ± 2.3" in text
    assert "standard error" not in text
    assert json.loads(run("info", tmp_path / "model.safetensors", "--json").stdout).items() >= estimated.items()
    assert "±" not in run("info", files.model).stdout.split("Choices")[0]


def test_info_writes_the_configuration_that_repeats_the_fit(files, tmp_path):
    config, again = tmp_path / "config.toml", tmp_path / "again.safetensors"
    printed = run("info", files.model, "--config")
    assert printed.exit_code == 0
    config.write_text(printed.stdout)
    assert run("fit", files.train, "--output", again, "--config", config).exit_code == 0
    one, two = (gpjaxpot.Potential.load(m) for m in (files.model, again))
    assert two.summary()["settings"] == one.summary()["settings"]
    (frame, *_) = gpjaxpot.read(files.test)
    a, b = (p.predict(frame, uncertainty=True) for p in (one, two))
    np.testing.assert_array_equal(b.forces, a.forces)
    np.testing.assert_array_equal(b.forces_uncertainty, a.forces_uncertainty)


def test_info_has_no_configuration_of_a_descriptor_given_in_python(files, tmp_path):
    model = tmp_path / "model.safetensors"
    soap = gpjaxpot.SOAP(cutoff=3.5, n_max=2, l_max=1, sigma=0.5)
    given = [s for s in SMALL if not s.startswith(("--set", "descriptor."))]
    given += [f"noise.{name}=0.1" for name in ("energy", "forces", "stress")]
    given += ["kernel.variance=1", "calibration.method=none"]
    settings = gpjaxpot.load_settings(None, given)
    gpjaxpot.fit(gpjaxpot.read(files.train)[:3], soap, gpjaxpot.DotPower(2), settings=settings).save(model)
    result = run("info", model, "--config")
    assert result.exit_code == 2
    assert "given in Python" in result.stderr


def test_info_tells_what_is_inside(files):
    result = run("info", files.model)
    assert result.exit_code == 0
    summary = json.loads(run("info", files.model, "--json").stdout)
    for words in ("sparse", "Choices", "Si", "3.5 Å", "0.1.0"):
        assert words in result.stdout
    assert re.search(rf"Si-Si +{summary['least_distances']['Si-Si']:.6g} Å", result.stdout)
    assert summary["structure_marks"][0] not in result.stdout
    # Folded at the end of the line.
    assert summary["fingerprint"] in re.sub(r"\s", "", result.stdout)
    assert widest(result.stdout.replace(str(files.model), "")) <= 80


def test_results_and_progress_go_separate_ways(files, tmp_path):
    """As with `gpjaxpot evaluate … > table.txt`: tables on stdout, progress on stderr."""
    status, stdout, stderr = finish(start("evaluate", files.model, files.test))
    assert status == 0
    assert "predicting: done" in stderr
    assert "predicting" not in stdout
    assert "\x1b" not in stdout + stderr
    assert "Warning" not in stderr
    assert widest(re.sub(r".*(read|Errors) .*\n", "", stdout)) <= 80


def test_a_failing_write_leaves_the_old_file(files, tmp_path, monkeypatch):
    """The disk fills while predictions are written: the file there before is still the old one."""
    import gpjaxpot.structures.io as io

    out = tmp_path / "out.xyz"
    out.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(io, "format_frame", full)
    result = run("predict", files.model, files.test, "--output", out)
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert snapshot(tmp_path) == {"out.xyz": b"old"}
