"""Evaluation writes exactly the promised keys, with errors and scores worked out beside it."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpjaxpot import units
from gpjaxpot.applications.evaluate import NO_GROUP, evaluate
from gpjaxpot.applications.evaluation_table import evaluation_table, uncertainty_table
from gpjaxpot.errors import InputError
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.structure import Structure
from gpjaxpot.uncertainty import scores
from tests.applications.fakes import FakePotential

ERROR_KEYS = [
    "energy_mae_meV",
    "energy_rmse_meV",
    "energy_mae_meV_per_atom",
    "energy_rmse_meV_per_atom",
    "forces_mae_eV_per_A",
    "forces_rmse_eV_per_A",
    "stress_mae_GPa",
    "stress_rmse_GPa",
]
SCORE_KEYS = [
    "nll",
    "crps",
    "ece",
    "miscalibration_area",
    "z_variance",
    "spearman",
    "auroc_top5",
    "sharpness",
    "coverage",
]
TOTAL_STD = 0.05  # of the fake: √(0.03² + 0.04²) for energies and for forces


def make_frames(count=30, seed=0, periodic=True, group=None, atoms=None):
    """Return frames whose labels differ from the fake's answers by draws of known spread."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(count):
        n = atoms or 2 + index % 3
        structure = Structure(rng.normal(size=(n, 3)), np.full(n, 14), 4 * np.eye(3), periodic)
        truth = FakePotential().predict(structure)
        labels = Labels(
            energy=truth.energy + rng.normal() * TOTAL_STD,
            forces=truth.forces + rng.normal(size=(n, 3)) * TOTAL_STD,
            stress=truth.stress + rng.normal(size=6) * 0.002 if periodic else None,
        )
        frames.append(Frame(structure, labels, group, f"test.xyz, frame {index}"))
    return frames


def residuals(frames):
    """Return energies (eV), atoms and force components that the labels differ by."""
    predictions = [FakePotential().predict(frame.structure) for frame in frames]
    pairs = list(zip(frames, predictions, strict=True))
    energy = np.array([frame.labels.energy - p.energy for frame, p in pairs])
    forces = np.concatenate([frame.labels.forces - p.forces for frame, p in pairs])
    stress = np.concatenate([f.labels.stress - p.stress for f, p in pairs if p.stress is not None])
    return energy, np.array([len(frame.structure) for frame in frames]), forces, stress


def test_errors_are_those_of_the_labels(potential):
    frames = make_frames()
    result = evaluate(potential, frames)
    energy, atoms, forces, stress = residuals(frames)
    assert result["n_structures"] == 30
    assert result["n_atoms"] == np.sum(atoms)
    expected = {
        "energy_mae_meV": 1000 * np.mean(np.abs(energy)),
        "energy_rmse_meV": 1000 * np.sqrt(np.mean(energy**2)),
        "energy_mae_meV_per_atom": 1000 * np.mean(np.abs(energy / atoms)),
        "energy_rmse_meV_per_atom": 1000 * np.sqrt(np.mean((energy / atoms) ** 2)),
        "forces_mae_eV_per_A": np.mean(np.abs(forces)),
        "forces_rmse_eV_per_A": np.sqrt(np.mean(forces**2)),
        "stress_mae_GPa": units.EV_PER_A3_TO_GPA * np.mean(np.abs(stress)),
        "stress_rmse_GPa": units.EV_PER_A3_TO_GPA * np.sqrt(np.mean(stress**2)),
    }
    for key, value in expected.items():
        # Two ways to add the same numbers; the energies cancel four digits.
        assert_allclose(result[key], value, rtol=1e-10, err_msg=key)
    assert result["seconds_per_atom"] > 0


def test_result_is_json_without_nan_and_has_the_promised_keys(potential):
    result = evaluate(potential, make_frames())
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    promised = {"n_structures", "n_atoms", "seconds_per_atom", "uncertainty", *ERROR_KEYS}
    assert promised <= set(result)
    for name in ["energy", "forces", "stress"]:
        assert set(SCORE_KEYS) <= set(result["uncertainty"][name])
        assert list(result["uncertainty"][name]["coverage"]) == ["0.5", "0.68", "0.9", "0.95"]
    coverage = result["uncertainty"]["forces"]["mahalanobis_coverage"]
    assert list(coverage) == ["0.5", "0.68", "0.9", "0.95"]


def test_scores_are_per_atom_for_energies_and_per_component_for_forces(potential):
    frames = make_frames()
    blocks = evaluate(potential, frames)["uncertainty"]
    energy, atoms, forces, _ = residuals(frames)
    per_atom = np.zeros(30), TOTAL_STD / atoms, energy / atoms
    components = np.zeros(forces.size), np.full(forces.size, TOTAL_STD), forces.ravel()
    for block, points in [(blocks["energy"], per_atom), (blocks["forces"], components)]:
        for key in ["nll", "crps", "ece", "miscalibration_area", "z_variance"]:
            assert_allclose(block[key], getattr(scores, key)(*points), rtol=1e-9, err_msg=key)
        assert_allclose(block["sharpness"], np.mean(points[1]), rtol=1e-12)
        assert block["coverage"] == pytest.approx(scores.coverage(*points))


def test_labels_drawn_from_the_predictions_look_calibrated(potential):
    """Two thousand force components: three standard deviations of each share and of ⟨z²⟩."""
    frames = make_frames(200)
    blocks = evaluate(potential, frames)["uncertainty"]
    count = blocks["forces"]["n_scored"]
    assert_allclose(blocks["forces"]["z_variance"], 1, atol=3 * np.sqrt(2 / count))
    for level, share in blocks["forces"]["coverage"].items():
        p = float(level)
        assert_allclose(share, p, atol=3 * np.sqrt(p * (1 - p) / count))
    # One ellipsoid an atom, a third as many.
    for level, share in blocks["forces"]["mahalanobis_coverage"].items():
        p = float(level)
        assert_allclose(share, p, atol=3 * np.sqrt(3 * p * (1 - p) / count))


def test_force_ranking_compares_whole_atoms():
    """σ and error of an atom both grow with the structure's index, so atoms rank alike."""

    class Growing(FakePotential):
        def predict(self, structure, **options):
            self.forces_std = 0.01 * abs(structure.positions[0, 0])
            return super().predict(structure, **options)

    frames = []
    for index in range(1, 41):
        structure = Structure([[float(index), 0.0, 0.0]], [14], 4 * np.eye(3), True)
        error = [[0.0, 0.0, 0.02 * index]]
        forces = FakePotential().predict(structure).forces + error
        frames.append(Frame(structure, Labels(forces=forces)))
    block = evaluate(Growing(noise=False), frames)["uncertainty"]["forces"]
    assert_allclose(block["spearman"], 1.0, rtol=1e-12)
    assert block["auroc_top5"] == 1.0
    # The z component alone has the error: r²/σ² = 4 lies inside 0.9 of χ²₃ (6.25), beyond 0.68.
    expected = {"0.5": 0.0, "0.68": 0.0, "0.9": 1.0, "0.95": 1.0}
    assert block["mahalanobis_coverage"] == expected


def test_what_symmetry_makes_certain_is_not_scored():
    """Noise on a force that must vanish says nothing of the model: atoms on a plane, z certain."""

    class Flat(FakePotential):
        def predict(self, structure, **options):
            prediction = super().predict(structure, **options)
            if prediction.forces_epistemic_std is not None:
                prediction.forces_epistemic_std[:, 2] = 1e-7  # round-off, far below the noise
                prediction.forces_covariance[2::3] = 0.0
            return prediction

    frames = make_frames(20)
    block = evaluate(Flat(), frames)["uncertainty"]["forces"]
    plain = evaluate(FakePotential(), frames)["uncertainty"]["forces"]
    components = plain["n_scored"]
    assert plain["n_certain"] == 0
    assert (block["n_scored"], block["n_certain"]) == (2 * components // 3, components // 3)
    assert block["mahalanobis_coverage"] is None


def test_what_the_data_do_not_have_is_null(potential):
    frames = [Frame(f.structure, Labels(energy=f.labels.energy)) for f in make_frames(5)]
    result = evaluate(potential, frames)
    assert result["forces_mae_eV_per_A"] is None
    assert result["stress_rmse_GPa"] is None
    assert result["energy_mae_meV"] > 0
    assert result["uncertainty"]["forces"] is None
    assert result["uncertainty"]["stress"] is None
    molecules = evaluate(potential, make_frames(5, periodic=False))
    assert molecules["stress_mae_GPa"] is None
    assert molecules["uncertainty"]["stress"] is None


def test_constant_sigma_has_no_rank_correlation(potential):
    """Undefined is null in JSON, never NaN; atoms of one size have one σ."""
    result = evaluate(potential, make_frames(5, atoms=2))
    assert result["uncertainty"]["forces"]["spearman"] is None
    assert result["uncertainty"]["forces"]["auroc_top5"] == 0.5


def test_without_uncertainty_nothing_of_it_is_computed(potential):
    result = evaluate(potential, make_frames(5), uncertainty=False)
    assert result["uncertainty"] is None
    assert not any(call["uncertainty"] or call["covariance"] for call in potential.calls)


def test_isolated_atoms_are_left_out_unless_there_is_nothing_else(potential):
    atom = Structure([[0.0, 0.0, 0.0]], [14])
    isolated = Frame(atom, Labels(energy=100.0, forces=np.zeros((1, 3))))
    frames = make_frames(6)
    with_atom = evaluate(potential, [*frames, isolated])
    without = evaluate(potential, frames)
    assert with_atom["energy_mae_meV"] == without["energy_mae_meV"]
    assert with_atom["n_structures"] == 6
    assert with_atom["n_isolated_left_out"] == 1
    alone = evaluate(potential, [isolated])
    assert alone["n_structures"] == 1
    assert alone["n_isolated_left_out"] == 0
    assert_allclose(alone["energy_mae_meV"], 1e5, rtol=1e-12)


def test_groups_have_their_own_errors(potential):
    bulk, surface, rest = (
        make_frames(8, group="bulk"),
        make_frames(4, 1, group="surface"),
        make_frames(3, 2),
    )
    result = evaluate(potential, [*bulk, *surface, *rest])
    assert list(result["groups"]) == ["bulk", "surface", NO_GROUP]
    alone = evaluate(potential, surface)
    for key in ["n_structures", "n_atoms", *ERROR_KEYS]:
        assert result["groups"]["surface"][key] == alone[key]
    assert sum(row["n_structures"] for row in result["groups"].values()) == 15
    assert evaluate(potential, rest)["groups"] == {}


def test_components_certain_by_symmetry_are_counted_and_not_scored():
    """Without noise σ = 0 has no likelihood; half of the structures keep a positive one."""

    class HalfCertain(FakePotential):
        def predict(self, structure, **options):
            self.forces_std = 0.0 if len(structure) == 2 else 0.05
            return super().predict(structure, **options)

    frames = [*make_frames(4, atoms=2), *make_frames(4, seed=1, atoms=3)]
    block = evaluate(HalfCertain(noise=False), frames)["uncertainty"]["forces"]
    assert (block["n_certain"], block["n_scored"]) == (24, 36)
    assert np.isfinite(block["nll"])
    assert block["mahalanobis_coverage"] is not None
    certain = evaluate(HalfCertain(noise=False), frames[:4])["uncertainty"]
    assert certain["forces"] is None


def test_progress_is_reported_once_a_frame(potential):
    seen = []
    evaluate(potential, make_frames(3), callback=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_timing_predicts_each_timed_structure_before_the_clock_starts(potential):
    """Thirty predictions with σ, then eight structures without: twice to compile, once to time."""
    evaluate(potential, make_frames(30))
    assert [call["uncertainty"] for call in potential.calls] == [True] * 30 + [False] * 24


def test_nothing_to_compare_is_refused(potential):
    with pytest.raises(InputError, match="no structures"):
        evaluate(potential, [])
    bare = [Frame(frame.structure) for frame in make_frames(2)]
    with pytest.raises(InputError, match="none of the 2 structures has an energy"):
        evaluate(potential, bare)


@pytest.mark.parametrize("name", ["forces", "forces_epistemic_std"])
def test_a_prediction_that_is_not_finite_is_refused_by_name(name):
    """A σ that is NaN must not pass for one that is certain."""

    class Broken(FakePotential):
        def predict(self, structure, **options):
            prediction = super().predict(structure, **options)
            getattr(prediction, name)[0, 0] = np.nan
            return prediction

    with pytest.raises(InputError, match=r"test\.xyz, frame 0: the predicted forces"):
        evaluate(Broken(), make_frames(1))


def test_error_table_has_a_row_for_all_and_for_each_group(potential):
    frames = [*make_frames(8, group="bulk"), *make_frames(4, 1, periodic=False, group="cluster")]
    result = evaluate(potential, frames)
    table = evaluation_table(result)
    assert [row[0] for row in table] == ["group", "all", "bulk", "cluster"]
    assert {len(row) for row in table} == {9}
    assert table[1][1] == "12"
    assert table[1][3] == f"{result['energy_mae_meV_per_atom']:.2f}"
    assert table[3][-1] == "–"
    molecules = evaluation_table(evaluate(potential, make_frames(4, periodic=False)))
    assert not any("stress" in title for title in molecules[0])


def test_uncertainty_table_has_a_row_for_each_observable(potential):
    result = evaluate(potential, make_frames())
    table = uncertainty_table(result)
    assert [row[0] for row in table] == ["", "energy", "forces", "stress"]
    assert "90 % covers" in table[0]
    assert {len(row) for row in table} == {len(table[0])}
    assert table[1][-1] == "eV/atom"
    nothing = evaluate(potential, make_frames(4), uncertainty=False)
    assert len(uncertainty_table(nothing)) == 1
