"""The ASE calculator keeps its contract: names, units, parts, caching, refusals, copies."""

import copy
import json
import pickle

import numpy as np
import pytest
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import FiniteDifferenceCalculator
from ase.calculators.mixing import SumCalculator
from ase.md.verlet import VelocityVerlet
from numpy.testing import assert_allclose

from gpjaxpot.applications.ase_properties import UNCERTAINTIES
from gpjaxpot.applications.calculator import Calculator, UncertaintyError
from gpjaxpot.errors import InputError
from tests.applications import fakes
from tests.applications.fakes import FakePotential, silicon


def test_standard_properties_are_those_of_the_potential(potential, atoms):
    atoms.calc = Calculator(potential)
    energies = 0.5 * fakes.SPRING * np.sum(atoms.positions**2, axis=1)
    assert_allclose(atoms.get_potential_energy(), np.sum(energies), rtol=1e-14)
    assert_allclose(atoms.get_potential_energy(force_consistent=True), np.sum(energies))
    assert_allclose(atoms.get_potential_energies(), energies, rtol=1e-14)
    assert_allclose(atoms.get_forces(), -fakes.SPRING * atoms.positions, rtol=1e-14)
    assert atoms.get_stress().shape == (6,)
    assert set(atoms.calc.results) == {"energy", "free_energy", "energies", "forces", "stress"}


def test_forces_agree_with_ases_finite_differences(potential):
    """Central differences of a parabola are exact but for 1e-16/1e-4 of cancellation."""
    atoms = silicon(pbc=False)
    atoms.calc = FiniteDifferenceCalculator(Calculator(potential), eps_disp=1e-4)
    numerical = atoms.get_forces()
    atoms.calc = Calculator(potential)
    assert_allclose(atoms.get_forces(), numerical, atol=1e-9)


def test_uncertainties_have_unit_and_shape_of_their_property(potential, atoms):
    calc = Calculator(potential, uncertainty=True)
    atoms.calc = calc
    atoms.get_potential_energy()
    results = calc.results
    for name in ["energy", "energies", "forces", "stress"]:
        assert np.shape(results[f"{name}_uncertainty"]) == np.shape(results[name])
    assert_allclose(results["energy_uncertainty"], 0.05, rtol=1e-14)  # √(0.03² + 0.04²)
    assert_allclose(results["forces_uncertainty"], np.full((2, 3), 0.05), rtol=1e-14)


def test_parts_add_up_in_squares_and_missing_ones_are_absent(potential, atoms):
    atoms.calc = Calculator(potential, uncertainty=True)
    atoms.get_potential_energy()
    results = atoms.calc.results
    for name in ["energy", "forces"]:
        total = results[f"{name}_uncertainty"]
        epistemic = results[f"{name}_uncertainty_epistemic"]
        aleatoric = results[f"{name}_uncertainty_aleatoric"]
        assert_allclose(total**2, epistemic**2 + aleatoric**2, rtol=1e-14)
    for name in ["energies", "stress"]:
        assert f"{name}_uncertainty_aleatoric" not in results
        epistemic = results[f"{name}_uncertainty_epistemic"]
        assert_allclose(results[f"{name}_uncertainty"], epistemic, rtol=0)


def test_results_are_numbers_and_arrays_of_numpy(potential, atoms):
    atoms.calc = Calculator(potential, uncertainty=True)
    atoms.get_potential_energy()
    for name, value in atoms.calc.results.items():
        assert isinstance(value, float) or value.dtype == np.float64, name


def test_everything_but_sigma_costs_one_prediction(potential, atoms):
    atoms.calc = Calculator(potential)
    atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_stress()
    atoms.get_potential_energies()
    assert [call["uncertainty"] for call in potential.calls] == [False]


def test_sigma_after_energy_costs_one_more_prediction_and_changes_no_bit(potential, atoms):
    atoms.calc = Calculator(potential)
    before = atoms.get_potential_energy()
    for name in UNCERTAINTIES:
        if name not in {"energies_uncertainty_aleatoric", "stress_uncertainty_aleatoric"}:
            atoms.calc.get_property(name, atoms)
    assert [call["uncertainty"] for call in potential.calls] == [False, True]
    assert atoms.get_potential_energy() == before
    assert len(potential.calls) == 2


def test_with_uncertainty_everything_costs_one_prediction(potential, atoms):
    atoms.calc = Calculator(potential, uncertainty=True)
    atoms.get_potential_energy()
    atoms.get_forces()
    atoms.calc.get_property("forces_uncertainty", atoms)
    assert len(potential.calls) == 1


def test_moving_an_atom_drops_everything_and_a_charge_nothing(potential, atoms):
    atoms.calc = Calculator(potential)
    sigma = atoms.calc.get_property("forces_uncertainty", atoms)
    atoms.set_initial_charges([0.5, -0.5])
    atoms.get_forces()
    assert len(potential.calls) == 1
    atoms.positions[0, 0] += 0.1
    energy = atoms.get_potential_energy()
    assert_allclose(energy, fakes.SPRING / 2 * np.sum(atoms.positions**2), rtol=1e-14)
    assert "forces_uncertainty" not in atoms.calc.results
    assert len(potential.calls) == 2
    sigma[:] = -1  # The caller's array is a copy.
    assert np.all(atoms.calc.get_property("forces_uncertainty", atoms) > 0)


def test_dynamics_predicts_once_a_step(potential):
    atoms = silicon(pbc=False)
    atoms.calc = Calculator(potential)
    VelocityVerlet(atoms, timestep=1.0, logfile=None).run(5)
    assert len(potential.calls) == 6


@pytest.mark.parametrize("pbc", [False, (True, True, False)])
def test_stress_is_absent_unless_all_directions_are_periodic(potential, pbc):
    atoms = silicon(pbc)
    atoms.calc = Calculator(potential, uncertainty=True)
    atoms.get_potential_energy()
    assert not any(name.startswith("stress") for name in atoms.calc.results)
    with pytest.raises(PropertyNotImplementedError, match="three periodic directions"):
        atoms.get_stress()
    with pytest.raises(PropertyNotImplementedError, match="three periodic directions"):
        atoms.calc.get_property("stress_uncertainty", atoms)
    assert len(potential.calls) == 1


def test_a_part_without_noise_model_is_not_available_and_costs_nothing(potential, atoms):
    atoms.calc = Calculator(potential, uncertainty=True)
    atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="energies_uncertainty_aleatoric"):
        atoms.calc.get_property("energies_uncertainty_aleatoric", atoms)
    assert len(potential.calls) == 1


def test_unknown_species_are_refused_by_name(potential, atoms):
    atoms.symbols[1] = "Cl"
    atoms.calc = Calculator(potential)
    with pytest.raises(InputError, match=r"species Cl, the potential knows H, O, Si: fit it"):
        atoms.get_potential_energy()
    assert potential.calls == []
    atoms.symbols[1] = "Si"
    assert atoms.get_potential_energy() > 0


def test_without_atoms_the_message_says_so(potential):
    with pytest.raises(InputError, match="has no atoms"):
        Calculator(potential).get_potential_energy()


def test_precision_is_passed_on_and_comes_back_as_float64(potential, atoms):
    """Single precision rounds positions at 6e-8 of their size."""
    atoms.calc = Calculator(potential, dtype="float32")
    forces = atoms.get_forces()
    assert potential.calls[0]["dtype"] == "float32"
    assert forces.dtype == np.float64
    assert 0 < np.max(np.abs(forces + fakes.SPRING * atoms.positions)) < 1e-6


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dtype": "float16"}, "dtype must be one of 'float64', 'float32', got 'float16'"),
        ({"uncertainty": "yes"}, "uncertainty must be one of True, False"),
        ({"on_threshold": "stop"}, "'warn', 'raise', 'record'"),
        ({"uncertainty_threshold": -0.1}, "must be positive"),
    ],
)
def test_wrong_parameters_are_refused(potential, parameters, message):
    # Through `set`, which the constructor uses too: its annotations are checked here before.
    with pytest.raises(InputError, match=message):
        Calculator(potential).set(**parameters)


def test_set_refuses_unknown_names_and_drops_results(potential, atoms):
    atoms.calc = Calculator(potential)
    atoms.get_potential_energy()
    with pytest.raises(InputError, match="did you mean 'uncertainty'"):
        atoms.calc.set(uncertanty=True)
    atoms.calc.set(uncertainty=True)
    assert atoms.calc.results == {}
    atoms.get_potential_energy()
    assert "energy_uncertainty" in atoms.calc.results


def test_above_the_threshold_it_warns_once_with_the_atoms():
    """Each force component has σ = 0.05 eV/Å, an atom √3 times that: 0.0866."""
    atoms = silicon()
    atoms.calc = Calculator(FakePotential(), uncertainty_threshold=0.08)
    with pytest.warns(UserWarning, match=r"above 0.08 eV/Å on 2 atom\(s\).*0.0866 eV/Å\): 0, 1"):
        atoms.get_forces()
    atoms.positions[0, 0] += 0.1
    atoms.get_forces()  # Warnings are errors here: a second one would fail the test.
    assert atoms.calc.uncertainty_info["above_threshold"] == [0, 1]


def test_below_the_threshold_it_is_silent(potential, atoms):
    atoms.calc = Calculator(potential, uncertainty_threshold=0.09)
    atoms.get_forces()
    assert atoms.calc.uncertainty_info["above_threshold"] == []


def test_told_to_raise_it_gives_no_result_however_often_it_is_asked(potential, atoms):
    atoms.calc = Calculator(potential, uncertainty_threshold=0.08, on_threshold="raise")
    for _ in range(2):
        with pytest.raises(UncertaintyError, match="most on atom 0"):
            atoms.get_forces()


def test_told_to_record_it_is_silent_and_remembers(potential, atoms):
    atoms.calc = Calculator(potential, uncertainty_threshold=0.08, on_threshold="record")
    atoms.get_forces()
    assert atoms.calc.uncertainty_info["above_threshold"] == [0, 1]


def test_uncertainty_info_tells_what_the_numbers_are(atoms):
    raw = Calculator(FakePotential()).uncertainty_info
    assert raw["calibrated"] == []
    assert raw["method"] == "posterior"
    assert raw["model_hash"] == "abc123"
    record = {"method": "conformal", "level": 0.9, "n_structures": 40, "observables": {"energy": {}, "forces": {}}}
    info = Calculator(FakePotential(calibration_record=record)).uncertainty_info
    assert info["calibrated"] == ["energy", "forces"]
    assert (info["method"], info["level"], info["n_calib"]) == ("conformal", 0.9, 40)


def test_uncertainties_are_calibrated_unless_raw_ones_are_asked_for(atoms):
    potential = FakePotential(calibration_record={"observables": {"energy": {}, "forces": {}}}, scale=3.0, novelty=1.5)
    atoms.calc = Calculator(potential, uncertainty=True)
    calibrated = atoms.get_properties(["forces_uncertainty", "forces_uncertainty_epistemic"])
    info = atoms.calc.uncertainty_info
    atoms.calc = Calculator(potential, uncertainty=True, raw=True)
    raw = atoms.get_properties(["forces_uncertainty", "forces_uncertainty_epistemic"])
    assert_allclose(calibrated["forces_uncertainty"], 3.0 * raw["forces_uncertainty"])
    assert_allclose(calibrated["forces_uncertainty_epistemic"], raw["forces_uncertainty_epistemic"])
    assert info["calibrated"] == ["energy", "forces"]
    assert atoms.calc.uncertainty_info["calibrated"] == []
    # The atoms whose environments the calibration does not know.
    assert info["outside"] == [1]


def test_copies_and_pickles_work_and_a_deep_copy_shares_the_potential(potential, atoms):
    calc = Calculator(potential, uncertainty=True)
    atoms.calc = calc
    energy = atoms.get_potential_energy()
    twin = copy.deepcopy(calc)
    assert twin.potential is potential
    assert twin.results is not calc.results
    revived = pickle.loads(pickle.dumps(calc))
    for other in [twin, revived]:
        assert other.parameters == calc.parameters
        again = atoms.copy()
        again.calc = other
        assert again.get_potential_energy() == energy
    atoms.positions[0, 0] += 0.3
    atoms.get_potential_energy()
    assert twin.results["energy"] == energy


def test_todict_is_json_and_names_the_model(potential):
    calc = Calculator(potential, uncertainty=True, uncertainty_threshold=0.2)
    assert json.loads(json.dumps(calc.todict())) == {
        "model_hash": "abc123",
        "uncertainty": True,
        "dtype": "float64",
        "uncertainty_threshold": 0.2,
        "on_threshold": "warn",
        "raw": False,
    }


def test_sums_with_other_calculators_have_energies_and_forces(potential, atoms):
    """ASE sums standard properties only, so σ is lost there; the rest must be right."""
    atoms.calc = SumCalculator([Calculator(potential), Calculator(potential)])
    assert_allclose(atoms.get_forces(), -2 * fakes.SPRING * atoms.positions, rtol=1e-14)


def test_get_properties_of_ase_knows_the_names(potential, atoms):
    atoms.calc = Calculator(potential)
    properties = atoms.get_properties(["energy", "forces_uncertainty"])
    assert properties["forces_uncertainty"].shape == (2, 3)
