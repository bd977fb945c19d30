"""Uncertainties come back from ASE's files, and programs that do not know them read the rest."""

import json
import subprocess
import sys

import ase.io
import ase.io.extxyz
import numpy as np
import pytest
from ase import Atoms
from ase.calculators import calculator as ase_calculator
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from numpy.testing import assert_allclose

from gpjaxpot.applications import ase_properties
from gpjaxpot.applications.ase_properties import QUANTITIES, UNCERTAINTIES, register, save_results
from gpjaxpot.applications.calculator import Calculator
from gpjaxpot.errors import InputError
from tests.applications.fakes import FakePotential, silicon

# Extended XYZ prints columns with eight decimals.
COLUMN = 0.51e-8


@pytest.fixture
def calculated():
    """Return two atoms with results and all their uncertainties."""
    atoms = silicon()
    # An irrational σ, so that digits are there to be lost.
    atoms.calc = Calculator(FakePotential(forces_std=np.pi / 100), uncertainty=True)
    atoms.get_potential_energy()
    return atoms


def assert_same_results(results, expected, atol):
    assert set(results) == set(expected)
    for name, value in expected.items():
        assert np.shape(results[name]) == np.shape(value), name
        assert_allclose(results[name], value, rtol=1e-14, atol=atol, err_msg=name)


# What ASE 3.29 warns of under NumPy 2.5.
ASE_UNDER_NUMPY = "ignore:Setting the shape on a NumPy array:DeprecationWarning"


def elsewhere(program, *arguments):
    """Run a program in a Python that does not import gpjaxpot; returns its JSON output."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-W", ASE_UNDER_NUMPY, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


READ_ELSEWHERE = """
import json, sys
import ase.io
atoms = ase.io.read(sys.argv[1])
assert "gpjaxpot" not in sys.modules
plain = lambda values: {name: getattr(value, "tolist", lambda: value)()
                        for name, value in values.items()}
print(json.dumps({"info": plain(atoms.info), "arrays": plain(atoms.arrays),
                  "results": plain(atoms.calc.results) if atoms.calc else {}}))
"""


def test_registration_can_be_repeated_and_adds_each_name_once():
    assert register()
    assert register()
    for name in UNCERTAINTIES:
        assert ase_calculator.all_properties.count(name) == 1
        kinds = ase.io.extxyz.per_atom_properties + ase.io.extxyz.per_config_properties
        assert kinds.count(name) == 1


@pytest.mark.parametrize("first", ["extxyz", "gpjaxpot"])
def test_registration_works_in_either_order_of_import(first, tmp_path, calculated):
    """ASE's extended XYZ module makes its lists when it is imported."""
    ase.io.write(tmp_path / "a.xyz", calculated)
    lines = ["import ase.io.extxyz", "from gpjaxpot.applications.ase_properties import register"]
    program = "\n".join(lines if first == "extxyz" else lines[::-1])
    program += """
import json, sys, ase.io
assert register()
print(json.dumps(sorted(ase.io.read(sys.argv[1]).calc.results)))"""
    assert set(elsewhere(program, tmp_path / "a.xyz")) >= set(QUANTITIES) | {"forces_uncertainty"}


def test_an_ase_without_the_private_function_is_survived(monkeypatch):
    """The answer says so, and nothing raises."""
    monkeypatch.delattr("ase.outputs._defineprop")
    assert register() is False
    monkeypatch.setattr(ase_calculator, "all_properties", ("energy",))
    assert register() is False


def test_single_point_calculators_take_all_results(calculated):
    frozen = SinglePointCalculator(calculated, **calculated.calc.results)
    assert_same_results(frozen.results, calculated.calc.results, atol=0)


def test_extended_xyz_keeps_all_results(calculated, tmp_path):
    ase.io.write(tmp_path / "a.xyz", [calculated, calculated])
    for atoms in ase.io.read(tmp_path / "a.xyz", index=":"):
        assert_same_results(atoms.calc.results, calculated.calc.results, COLUMN)


def test_extended_xyz_keeps_those_of_a_single_atom(tmp_path):
    atoms = Atoms("Si", positions=[[0.1, 0.2, 0.3]])
    atoms.calc = Calculator(FakePotential(), uncertainty=True)
    atoms.get_potential_energy()
    ase.io.write(tmp_path / "a.xyz", atoms)
    back = ase.io.read(tmp_path / "a.xyz")
    assert_same_results(back.calc.results, atoms.calc.results, COLUMN)


def test_trajectories_keep_all_results_bit_for_bit(calculated, tmp_path):
    ase.io.write(tmp_path / "a.traj", calculated)
    back = ase.io.read(tmp_path / "a.traj")
    assert back.calc.name == "gpjaxpot"
    for name, value in calculated.calc.results.items():
        assert np.array_equal(back.calc.results[name], value), name


def test_extended_xyz_is_read_by_a_process_without_gpjaxpot(calculated, tmp_path):
    """There the uncertainties lie in info and arrays, under the same names."""
    ase.io.write(tmp_path / "a.xyz", calculated)
    found = elsewhere(READ_ELSEWHERE, tmp_path / "a.xyz")
    stored = found["info"] | found["arrays"]
    uncertainties = {name: stored[name] for name in UNCERTAINTIES if name in stored}
    assert_same_results(found["results"] | uncertainties, calculated.calc.results, COLUMN)
    assert set(found["results"]) == {"energy", "free_energy", "energies", "forces", "stress"}


def test_trajectories_are_read_by_a_process_without_gpjaxpot(calculated, tmp_path):
    """ASE drops what it does not know there, without a word and without harm."""
    ase.io.write(tmp_path / "a.traj", calculated)
    found = elsewhere(READ_ELSEWHERE, tmp_path / "a.traj")
    assert set(found["results"]) == {"energy", "free_energy", "energies", "forces", "stress"}
    assert_allclose(found["results"]["forces"], calculated.calc.results["forces"], rtol=0)


def test_saved_results_are_read_by_a_process_without_gpjaxpot(calculated, tmp_path):
    save_results(calculated)
    expected = dict(calculated.calc.results)
    calculated.calc = None
    ase.io.write(tmp_path / "a.xyz", calculated)
    found = elsewhere(READ_ELSEWHERE, tmp_path / "a.xyz")
    saved = {
        name.removeprefix("GPJ_"): value
        for name, value in (found["info"] | found["arrays"]).items()
        if name.startswith("GPJ_")
    }
    del expected["free_energy"]
    assert_same_results(saved, expected, COLUMN)
    assert found["results"] == {}


def test_saving_again_leaves_nothing_stale(calculated):
    save_results(calculated)
    assert "GPJ_forces_uncertainty" in calculated.arrays
    calculated.positions[0] += 0.1
    calculated.calc.set(uncertainty=False)
    calculated.get_potential_energy()
    save_results(calculated)
    assert "GPJ_forces_uncertainty" not in calculated.arrays
    assert_allclose(calculated.arrays["GPJ_forces"], calculated.get_forces(), rtol=0)


def test_saving_results_of_other_positions_is_refused(calculated):
    calculated.positions[0] += 0.1
    with pytest.raises(InputError, match="no results to save"):
        save_results(calculated)
    calculated.calc = None
    with pytest.raises(InputError, match="no results to save"):
        save_results(calculated)


def test_other_calculators_are_written_as_before(tmp_path):
    """Longer lists of names must not change what ASE does for others."""
    register()
    atoms = Atoms("Cu2", positions=[[0, 0, 0], [2.4, 0, 0]], calculator=EMT())
    energy = atoms.get_potential_energy()
    for name in ["a.traj", "a.xyz"]:
        ase.io.write(tmp_path / name, atoms)
        assert_allclose(ase.io.read(tmp_path / name).get_potential_energy(), energy, rtol=1e-12)


def test_databases_take_the_atoms_and_the_saved_results(calculated, tmp_path):
    """The database drops unknown properties; `data` carries what `save_results` made."""
    save_results(calculated)
    with connect(tmp_path / "a.db") as database:
        data = {"forces_uncertainty": calculated.arrays["GPJ_forces_uncertainty"]}
        database.write(calculated, data=data, GPJ_energy=calculated.info["GPJ_energy"])
    row = connect(tmp_path / "a.db").get(1)
    assert_allclose(row.forces, calculated.calc.results["forces"], rtol=0)
    assert_allclose(row.data["forces_uncertainty"], calculated.calc.results["forces_uncertainty"])
    assert row.calculator_parameters["model_hash"] == "abc123"


def test_every_name_has_a_field_of_a_prediction():
    assert len(UNCERTAINTIES) == 12
    assert set(ase_properties.SUFFIXES.values()) == {"_std", "_epistemic_std", "_aleatoric_std"}
