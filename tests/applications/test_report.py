"""A report has its figures and numbers, needs no network, and lets no name of the data become code."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpjaxpot.applications import report
from gpjaxpot.applications.evaluate import compare_all, evaluate
from gpjaxpot.applications.report import make_report
from gpjaxpot.applications.report_figures import report_figures
from gpjaxpot.applications.report_record import report_record
from gpjaxpot.applications.report_scene import report_scenes
from gpjaxpot.errors import InputError
from gpjaxpot.potential.calibration import Calibration
from gpjaxpot.structures.duplicates import mark
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.structure import Structure
from gpjaxpot.uncertainty.quantile_function import QuantileFunction
from gpjaxpot.uncertainty.retrieval import retrieval_curve
from tests.applications.fakes import STRESS_STD, FakePotential
from tests.applications.reports import FIGURES, HOSTILE_GROUP, HOSTILE_SOURCE, make_frames, without_pictures


class Page(HTMLParser):
    """What a parser sees of a page: tags with their attributes, and the texts of table cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data):
        if self.cells:
            self.cells[-1] += data

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


class Calibrated(FakePotential):
    """The springs, with a calibration that doubles force spreads and knows how new an atom is."""

    def predict(self, structure, **options):
        made = super().predict(structure, **options)
        made.calibration = self.calibration
        made.forces_factor = np.linspace(0.5, 1.5, len(structure))
        made.novelty = np.linspace(0.1, 1.3, len(structure))
        return made


@pytest.fixture
def calibrated():
    record = {"method": "conformal", "source": "20 structures of held_out.xyz"}
    functions = {"forces": QuantileFunction.gaussian(2.0), "energy": QuantileFunction.gaussian(0.7)}
    return Calibrated(calibration=Calibration(functions, (14,), None, None, None, record))


def record_of(model, frames):
    return report_record(frames, compare_all(model, frames), model.calibration, model.summary())


def scene_of(model, frames):
    return report_scenes(frames, record_of(model, frames)["worst_atoms"])[0]


def without_time(result):
    return {name: value for name, value in result.items() if name != "seconds_per_atom"}


def test_the_page_has_every_figure_with_a_text_and_every_table(potential):
    page = Page(make_report(potential, make_frames(), "model.safetensors", ["test.xyz"]).page)
    assert [f["id"] for f in page.named("figure")] == [f"figure-{name}" for name in FIGURES]
    assert all(len(image["alt"]) > 40 for image in page.named("img"))
    assert len(page.named("img")) == len(FIGURES)
    # errors, species, raw scores, worst atoms, worst structures
    assert len(page.named("table")) == 5
    assert len(page.named("canvas")) == 1
    for cell in ("bulk", "surface", "Si", "O", "H"):
        assert cell in page.cells


def test_the_pictures_are_pictures(potential):
    page = Page(make_report(potential, make_frames()).page)
    for image in page.named("img"):
        kind, data = re.fullmatch(r"data:image/(svg\+xml|png);base64,(.*)", image["src"]).groups()
        content = base64.b64decode(data)
        assert content.startswith(b"\x89PNG") if kind == "png" else b"<svg" in content


def test_the_page_needs_no_network(potential):
    text = make_report(potential, make_frames()).page
    assert "http:" not in without_pictures(text)
    assert "https:" not in without_pictures(text)
    assert "@import" not in text
    assert "url(" not in text
    for _, attrs in Page(text).tags:
        for name in ("src", "href", "srcset", "action"):
            assert attrs.get(name, "data:").startswith("data:")


def test_names_of_the_data_stay_names(potential):
    frames = make_frames(groups=(HOSTILE_GROUP, "$\\frac$"), source=HOSTILE_SOURCE)
    made = make_report(potential, frames, f"{HOSTILE_SOURCE}.safetensors", [HOSTILE_SOURCE])
    page = Page(made.page)
    assert "hacked" in made.page
    # The page's own two scripts and no other; images are the figures.
    assert [attrs.get("type") for attrs in page.named("script")] == ["application/json", None]
    assert len(page.named("img")) == len(FIGURES)
    assert not any("onerror" in attrs for _, attrs in page.tags)
    assert HOSTILE_GROUP in page.cells
    scenes = made.page.split('id="scenes">')[1].split("</script>")[0]
    assert "<" not in scenes
    assert json.loads(scenes)[0]["source"].startswith(HOSTILE_SOURCE)


def test_the_numbers_are_those_of_evaluate_and_plain_json(potential, calibrated):
    for model in (potential, calibrated):
        frames = make_frames()
        record = record_of(model, frames)
        assert json.loads(json.dumps(record, allow_nan=False)) == record
        assert record["evaluation"] == without_time(evaluate(model, frames))


def test_each_structure_is_predicted_once(potential):
    make_report(potential, make_frames(7))
    assert len(potential.calls) == 7


def test_numbers_by_species_are_those_of_its_atoms(calibrated):
    frames = make_frames()
    rows = record_of(calibrated, frames)["species"]
    assert list(rows) == ["H", "O", "Si"]
    predictions = [calibrated.predict(frame.structure, uncertainty=True) for frame in frames]
    at = [frame.structure.numbers == 8 for frame in frames]
    parts = list(zip(frames, predictions, at, strict=True))
    error = np.concatenate([(f.labels.forces - p.forces)[here] for f, p, here in parts])
    raw = np.concatenate([p.forces_std[here] for _, p, here in parts])
    factor = np.concatenate([p.forces_factor[here] for _, p, here in parts])[:, None]
    assert rows["O"]["n_atoms"] == len(error)
    assert_allclose(rows["O"]["forces_mae_eV_per_A"], np.mean(np.abs(error)), rtol=1e-12)
    assert_allclose(rows["O"]["mean_sigma_eV_per_A"], np.mean(2.0 * factor * raw), rtol=1e-12)
    assert_allclose(rows["O"]["mean_sigma_raw_eV_per_A"], np.mean(raw), rtol=1e-12)
    assert rows["O"]["coverage_0.9"] == np.mean(np.abs(error) <= 1.6448536 * 2.0 * factor * raw)


def test_the_worst_atoms_are_those_with_the_largest_errors(calibrated):
    frames = make_frames()
    record = record_of(calibrated, frames)
    predictions = [calibrated.predict(frame.structure, uncertainty=True) for frame in frames]
    length = [np.linalg.norm(f.labels.forces - p.forces, axis=1) for f, p in zip(frames, predictions, strict=True)]
    everything = np.sort(np.concatenate(length))[::-1]
    worst = record["worst_atoms"]
    assert_allclose([atom["error_eV_per_A"] for atom in worst], everything[:10], rtol=1e-10)
    first = worst[0]
    place, atom = first["structure"], first["atom"]
    assert first["source"] == frames[place].source
    assert_allclose(first["predicted_eV_per_A"], predictions[place].forces[atom], rtol=1e-10)
    sigma = 2.0 * predictions[place].forces_factor[atom] * np.linalg.norm(predictions[place].forces_std[atom])
    assert_allclose(first["sigma_eV_per_A"], sigma, rtol=1e-10)
    assert_allclose(first["error_in_sigma"], first["error_eV_per_A"] / sigma, rtol=1e-10)
    assert_allclose(first["novelty"], predictions[place].novelty[atom])
    rmse = [record["structures"][place]["forces_rmse_eV_per_A"] for place in record["worst_structures"]]
    assert rmse == sorted(rmse, reverse=True)


def test_retrieval_is_told_for_raw_and_calibrated_spreads(calibrated):
    frames = make_frames()
    found = record_of(calibrated, frames)["retrieval"]
    predictions = [calibrated.predict(frame.structure, uncertainty=True) for frame in frames]
    errors = [np.linalg.norm(f.labels.forces - p.forces, axis=1) for f, p in zip(frames, predictions, strict=True)]
    sigma = [p.forces_factor * np.linalg.norm(p.forces_std, axis=1) for p in predictions]
    curve = retrieval_curve(np.concatenate(sigma), np.concatenate(errors), 0.05)
    assert_allclose(found["found"]["calibrated"], np.interp(found["looked_at"], *curve), rtol=1e-10)
    assert found["found"]["calibrated"] != found["found"]["raw"]
    assert record_of(calibrated, frames)["retrieval_of_structures"] is None


def test_retrieval_of_many_structures_is_told_by_their_root_mean_squares(calibrated):
    frames = make_frames(24)
    found = record_of(calibrated, frames)["retrieval_of_structures"]
    predictions = [calibrated.predict(frame.structure, uncertainty=True) for frame in frames]
    pairs = zip(frames, predictions, strict=True)
    errors = [np.sum((f.labels.forces - p.forces) ** 2) / len(p.forces) for f, p in pairs]
    sigma = [np.sum((p.forces_factor[:, None] * p.forces_std) ** 2) / len(p.forces) for p in predictions]
    curve = retrieval_curve(np.sqrt(sigma), np.sqrt(errors), 0.05)
    assert_allclose(found["found"]["calibrated"], np.interp(found["looked_at"], *curve), rtol=1e-10)
    assert "Finding the worst structures" in make_report(calibrated, frames).page


def test_what_is_calibrated_and_what_is_extrapolated_is_said_in_words(calibrated, potential):
    frames = make_frames()
    text = make_report(calibrated, frames).page
    assert "calibrated (conformal, on 20 structures of held_out.xyz)" in text
    assert "12 of 12 structures are unlike those" in " ".join(text.split())
    raw = make_report(calibrated, frames, raw=True)
    assert raw.record["spreads"] == "raw"
    for text in (raw.page, make_report(potential, frames).page):
        assert "raw: not calibrated" in text
        assert 'id="novelty"' not in text


def test_a_test_on_what_was_fitted_is_called_none(calibrated, monkeypatch):
    frames = make_frames()
    assert 'id="fitted"' not in make_report(calibrated, frames).page
    known = {"structure_marks": [mark(frame) for frame in frames[2:5]]}
    summary = calibrated.summary() | known
    monkeypatch.setattr(calibrated, "summary", lambda: summary)
    report = make_report(calibrated, frames)
    assert report.record["fitted"] == [2, 3, 4]
    assert "the model was fitted to 3 of these 12 structures" in " ".join(report.page.split())


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"stress": False}, {"parity_stress"}),
        ({"periodic": False}, {"parity_stress"}),
        ({"groups": ()}, set()),
        ({"count": 1}, set()),
        ({"energies": False, "stress": False}, {"parity_energy", "parity_stress", "energy_and_force_std"}),
    ],
    ids=["no stress", "molecules", "no groups", "one structure", "forces alone"],
)
def test_what_there_are_labels_for_is_shown(potential, options, missing):
    frames = make_frames(**options)
    compared = compare_all(potential, frames)
    figures = report_figures(frames, compared, None)
    assert {item.name for item in figures} == set(FIGURES) - missing
    record = record_of(potential, frames)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_energies_alone_make_a_page_without_atoms(potential):
    frames = [Frame(f.structure, Labels(energy=f.labels.energy), f.group, f.source) for f in make_frames()]
    made = make_report(potential, frames)
    assert [item.name for item in made.figures] == ["parity_energy", "reliability", "pit_histogram", "coverage"]
    assert made.record["worst_atoms"] == []
    assert "<canvas" not in made.page


def test_stresses_are_shown_with_their_spreads(potential, calibrated):
    frames = make_frames()
    compared = compare_all(potential, frames)
    figures = {item.name: item.figure for item in report_figures(frames, compared, None)}
    label = np.concatenate([f.labels.stress for f in frames])
    error = np.concatenate([potential.predict(f.structure).stress - f.labels.stress for f in frames])
    top, bottom = (axes.lines[0] for axes in figures["parity_stress"].axes)
    assert_allclose(top.get_xdata(), 160.2176634 * label, rtol=1e-9)
    assert_allclose(bottom.get_ydata(), 160.2176634 * error, rtol=1e-9, atol=1e-12)
    drawn = {line.get_label(): line for line in figures["coverage"].axes[0].lines}
    inside = [100 * np.mean(np.abs(error) <= k * STRESS_STD) for k in (0.67449, 0.99446, 1.64485, 1.95996)]
    assert_allclose(drawn["stress, raw"].get_ydata(), inside)
    pit = record_of(potential, frames)["pit"]["stress"]
    assert sum(pit) == pytest.approx(1.0)
    told = [item.caption for item in report_figures(frames, compared, None) if item.name == "coverage"]
    assert f"and {len(error)} stress components." in told[0]
    # Of a model whose stresses are not calibrated, the others are told apart from them.
    shown = report_figures(frames, compare_all(calibrated, frames), calibrated.calibration)
    (reliability,) = (item.figure for item in shown if item.name == "reliability")
    names = [text.get_text() for text in reliability.axes[0].get_legend().get_texts()]
    assert {"energy", "force components", "stress components, raw"} <= set(names)


def test_a_force_that_is_certain_has_no_ratio():
    potential = FakePotential(forces_std=0.0)
    record = record_of(potential, make_frames(3))
    assert {atom["error_in_sigma"] for atom in record["worst_atoms"]} == {None}
    assert record["binned"] is None


def test_a_periodic_structure_is_drawn_around_its_worst_atom(potential):
    positions = np.array([[0.1, 0.1, 0.1], [3.9, 0.1, 0.1], [2.0, 0.1, 0.1]])
    structure = Structure(positions, np.full(3, 14), 4 * np.eye(3), True)
    forces = potential.predict(structure).forces + np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, 0]])
    scene = scene_of(potential, [Frame(structure, Labels(forces=forces), None, "")])
    assert scene["indices"] == [0, 1, 2]
    assert_allclose(scene["positions"][:2], [[0, 0, 0], [-0.2, 0, 0]], atol=1e-10)
    assert_allclose(abs(scene["positions"][2][0]), 1.9, atol=1e-10)
    assert len(scene["edges"]) == 12
    assert [0, 1] in scene["bonds"]


def test_of_a_large_structure_the_nearest_atoms_are_drawn(potential):
    grid = np.stack(np.meshgrid(*[2.5 * np.arange(8.0)] * 3), axis=-1).reshape(-1, 3)
    structure = Structure(grid, np.full(512, 14))
    forces = potential.predict(structure).forces
    forces[100] += 1.0
    scene = scene_of(potential, [Frame(structure, Labels(forces=forces), None, "")])
    assert (scene["indices"][0], len(scene["indices"]), scene["total"]) == (100, 400, 512)
    assert scene["edges"] == []


def test_bad_input_is_refused(potential, monkeypatch):
    with pytest.raises(InputError, match="at least one"):
        make_report(potential, [])
    frame = make_frames(1)[0]
    with pytest.raises(InputError, match="has an energy, forces or a stress"):
        make_report(potential, [Frame(frame.structure)])
    with pytest.raises(InputError, match="the potential knows Si"):
        make_report(FakePotential(species=(14,)), [frame])
    monkeypatch.setattr(report, "can_plot", lambda: False)
    with pytest.raises(InputError, match=r"gpjaxpot\[plot\]"):
        make_report(potential, [frame])


def test_what_is_written_is_the_report(potential, tmp_path):
    made = make_report(potential, make_frames(3))
    made.save_page(tmp_path / "report.html")
    made.save_json(tmp_path / "report.json")
    paths = made.save_figures(tmp_path / "new" / "figures")
    assert (tmp_path / "report.html").read_text("utf-8") == made.page
    assert json.loads((tmp_path / "report.json").read_text("utf-8")) == made.record
    assert [path.stem for path in paths] == [item.name for item in made.figures]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        made.save_figures(tmp_path / "file" / "figures")
