"""Figures show the numbers they were given, with units, and draw without a warning or a display."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

from gpjaxpot import plots
from gpjaxpot.uncertainty import binned_rmse


@pytest.fixture
def errors():
    """Five hundred σ between 0.02 and 0.3 and errors drawn from them."""
    rng = np.random.default_rng(0)
    std = np.exp(rng.normal(-2.5, 0.5, 500))
    return std, std * rng.normal(size=500)


def labels(figure):
    return [(axes.get_xlabel(), axes.get_ylabel()) for axes in figure.axes]


def make(name, count):
    """Draw each figure from `count` points."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=count)
    std = np.exp(rng.normal(size=count))
    return {
        "coverage": lambda: plots.coverage({"raw": {0.5: 0.4, 0.9: 0.85}, "calibrated": {0.5: 0.5}}),
        "energy_and_force_std": lambda: plots.energy_and_force_std(std, 3 * std),
        "error_against_reference": lambda: plots.error_against_reference(x, std, "force component", "eV/Å"),
        "error_hexbin": lambda: plots.error_hexbin(std, std * x, "eV/Å"),
        "parity_energy": lambda: plots.parity_energy(x, x + 0.01),
        "pit_histogram": lambda: plots.pit_histogram({"raw": rng.uniform(size=count)}),
        "parity_forces": lambda: plots.parity_forces(x, x + 0.01),
        "parity_stress": lambda: plots.parity_stress(x, x + 0.01),
        "error_against_std": lambda: plots.error_against_std(std, std * x, "eV/Å"),
        "retrieval": lambda: plots.retrieval({"raw": (np.linspace(0, 1, count + 1), np.linspace(0, 1, count + 1))}),
        "reliability": lambda: plots.reliability({"raw": rng.uniform(size=count)}),
        "z_histogram": lambda: plots.z_histogram({"raw": x}),
        "learning_curve": lambda: plots.learning_curve(
            np.arange(1.0, count + 1), {"sparse": np.exp(-x)}, "force MAE", "eV/Å"
        ),
    }[name]()


@pytest.mark.parametrize("count", [1, 12, 3000])
@pytest.mark.parametrize("name", plots.__all__)
def test_every_figure_draws_from_one_point_and_from_many(name, count, tmp_path):
    """Warnings are errors, so an empty legend or a singular axis would fail here."""
    if (name, count) == ("learning_curve", 3000):
        count = 12
    figure = make(name, count)
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "figure.png", dpi=50)
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_parity_states_errors_in_small_units_and_its_axes_the_unit():
    reference = np.array([-5.0, -4.9, -4.8, -4.7])
    figure = plots.parity_energy(reference, reference + [0.002, -0.002, 0.004, 0.0])
    assert labels(figure) == [
        ("", "predicted energy (eV/atom)"),
        ("reference energy (eV/atom)", "error (meV/atom)"),
    ]
    assert "MAE 2 meV/atom" in figure.axes[0].texts[0].get_text()
    assert "RMSE 2.45 meV/atom" in figure.axes[0].texts[0].get_text()
    assert_allclose(figure.axes[1].lines[0].get_ydata(), [2, -2, 4, 0], atol=1e-10)


def test_parity_of_stress_is_in_gigapascals_throughout():
    reference = np.array([-5.0, 0.0, 1.0])
    figure = plots.parity_stress(reference, reference + [0.2, -0.1, 0.0])
    assert labels(figure) == [
        ("", "predicted stress component (GPa)"),
        ("reference stress component (GPa)", "error (GPa)"),
    ]
    assert "MAE 0.1 GPa" in figure.axes[0].texts[0].get_text()
    assert_allclose(figure.axes[1].lines[0].get_ydata(), [0.2, -0.1, 0.0], atol=1e-10)


def test_parity_by_group_has_a_marker_and_a_name_for_each():
    x = np.linspace(0, 1, 30)
    names = ["bulk", "surface", "cluster"]
    figure = plots.parity_forces(x, x, [names[i % 3] for i in range(30)])
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == names
    series = figure.axes[0].lines[:3]
    assert len({line.get_marker() for line in series}) == 3
    assert len({line.get_color() for line in series}) == 3
    assert sum(len(line.get_xdata()) for line in series) == 30


def test_more_groups_than_colours_are_drawn():
    x = np.linspace(0, 1, 9)
    figure = plots.parity_forces(x, x, [f"group {i}" for i in range(9)])
    assert len(figure.axes[0].get_legend().get_texts()) == 9


def test_binned_errors_are_those_of_the_scores(errors):
    """The same bins as `binned_rmse`, which plots may not import."""
    figure = plots.error_against_std(*errors, "eV/Å", bins=10)
    drawn = figure.axes[1].lines[0]
    rmv, rmse, _ = binned_rmse(*errors, bins=10)
    assert_allclose(drawn.get_xdata(), rmv, rtol=1e-12)
    assert_allclose(drawn.get_ydata(), rmse, rtol=1e-12)
    assert labels(figure) == [
        ("σ (eV/Å)", "|error| (eV/Å)"),
        ("root mean variance (eV/Å)", "RMSE (eV/Å)"),
    ]


def test_an_error_of_zero_is_drawn(errors):
    std, error = errors
    error[:3] = 0.0
    y = plots.error_against_std(std, error, "eV").axes[0].lines[0].get_ydata()
    assert np.all(y > 0)
    assert len(y) == len(error)


def test_reliability_is_the_distribution_function_of_the_values():
    values = np.array([0.1, 0.4, 0.4, 0.9])
    figure = plots.reliability({"raw": values})
    curve = next(line for line in figure.axes[0].lines if line.get_label() == "raw")
    assert_allclose(curve.get_xdata(), [0, 0.1, 0.4, 0.4, 0.9, 1])
    assert_allclose(curve.get_ydata(), [0, 0.25, 0.5, 0.75, 1, 1])


def test_z_histogram_has_unit_area_and_counts_what_lies_beyond():
    z = np.concatenate([np.random.default_rng(0).normal(size=998), [9.0, -7.0]])
    figure = plots.z_histogram({"raw": z})
    steps = figure.axes[0].patches[0].get_data()
    assert_allclose(np.sum(steps.values * np.diff(steps.edges)), 1.0, rtol=1e-12)
    text = figure.axes[0].get_legend().get_texts()[1].get_text()
    assert f"⟨z²⟩ = {np.mean(z**2):.2f}" in text
    assert "2 beyond ±5" in text


def test_a_learning_curve_goes_on_where_a_size_was_not_run():
    sizes = np.array([10.0, 20.0, 40.0])
    figure = plots.learning_curve(sizes, {"some": np.array([3.0, np.nan, 1.0])}, "force MAE", "eV/Å")
    drawn = figure.axes[0].lines[0]
    np.testing.assert_array_equal(drawn.get_xydata(), [[10.0, 3.0], [40.0, 1.0]])


def test_learning_curve_shows_the_mean_of_repeats_in_their_band():
    sizes = np.array([10.0, 20.0, 40.0])
    runs = np.array([[0.4, 0.2, 0.1], [0.6, 0.3, 0.1]])
    figure = plots.learning_curve(sizes, {"exact": runs, "sparse": runs[0]}, "force MAE", "eV/Å")
    axes = figure.axes[0]
    assert_allclose(axes.lines[0].get_ydata(), [0.5, 0.25, 0.1])
    assert len(axes.collections) == 1
    assert labels(figure) == [("training structures", "force MAE (eV/Å)")]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["10", "20", "40"]


def test_bins_of_the_hexbin_are_those_of_the_scores(errors):
    figure = plots.error_hexbin(*errors, "eV/Å", bins=10)
    drawn = next(line for line in figure.axes[0].lines if line.get_label() == "RMSE of a bin")
    rmv, rmse, _ = binned_rmse(*errors, bins=10)
    assert_allclose(drawn.get_xdata(), rmv, rtol=1e-12)
    assert_allclose(drawn.get_ydata(), rmse, rtol=1e-12)
    assert labels(figure)[0] == ("σ (eV/Å)", "|error| (eV/Å)")


def test_errors_along_the_reference_have_the_rmse_of_each_bin():
    reference = np.repeat([0.05, 0.95], 20) + np.tile([-0.05, 0.05], 20)
    error = np.repeat([0.1, 0.3], 20) * np.tile([1, -1, -1, 1], 10)
    figure = plots.error_against_reference(reference, error, "force component", "eV/Å", bins=2)
    drawn = next(line for line in figure.axes[0].lines if line.get_label() == "± RMSE of a bin")
    assert_allclose(drawn.get_xdata(), [0.25, 0.75])
    assert_allclose(drawn.get_ydata(), [0.1, 0.3])
    assert labels(figure) == [("reference force component (eV/Å)", "error (eV/Å)")]


def test_pit_histogram_is_a_density_with_bins_for_what_each_set_has():
    rng = np.random.default_rng(0)
    figure = plots.pit_histogram({"many": rng.uniform(size=1000), "few": rng.uniform(size=12)})
    steps = [patch.get_data() for patch in figure.axes[0].patches if hasattr(patch, "get_data")]
    assert [len(step.values) for step in steps] == [20, 4]
    for step in steps:
        assert_allclose(np.sum(step.values * np.diff(step.edges)), 1.0, rtol=1e-12)


def test_coverage_is_drawn_in_percent_against_the_levels():
    figure = plots.coverage({"energy, raw": {0.9: 0.75, 0.5: 0.4}, "none": {}})
    drawn = next(line for line in figure.axes[0].lines if line.get_label() == "energy, raw")
    assert_allclose(drawn.get_xdata(), [50, 90])
    assert_allclose(drawn.get_ydata(), [40, 75])
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["50", "90"]


def test_spreads_of_energies_are_drawn_in_meV_against_those_of_forces():
    figure = plots.energy_and_force_std(np.array([0.001, 0.002]), np.array([0.1, 0.4]), ["a", "b"])
    assert_allclose([line.get_ydata()[0] for line in figure.axes[0].lines], [1, 2])
    assert_allclose([line.get_xdata()[0] for line in figure.axes[0].lines], [0.1, 0.4])
    assert labels(figure) == [("largest force σ (eV/Å)", "energy σ (meV/atom)")]


def test_retrieval_has_chance_and_the_best_order_beside_the_curves():
    looked = np.array([0.0, 0.5, 1.0])
    figure = plots.retrieval({"raw σ": (looked, np.array([0.0, 0.9, 1.0]))}, share=0.1)
    drawn = {line.get_label(): line for line in figure.axes[0].lines}
    assert_allclose(drawn["raw σ"].get_ydata(), [0, 90, 100])
    assert_allclose(drawn["perfect order"].get_xdata(), [0, 10, 100])
    assert_allclose(drawn["chance"].get_ydata(), [0, 100])


def test_a_group_with_dollars_is_a_name_and_no_formula(tmp_path):
    x = np.linspace(0, 1, 4)
    plots.parity_energy(x, x, ["$\\frac$", "_", "<b>", "$"]).savefig(tmp_path / "figure.png", dpi=50)


def test_importing_plots_does_not_import_matplotlib():
    program = "import sys; import gpjaxpot.plots; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=120)
