"""Energies per species: where they come from, and when they are not determined."""

import numpy as np
import pytest

from gpjaxpot.errors import InputError
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.reference import composition_rank, fit_reference
from gpjaxpot.structures.structure import Structure

TRUE = {1: -13.5, 6: -1030.0, 8: -2040.0}


def made(numbers, energy="sum", group=None):
    """Return a molecule far apart, with the sum of `TRUE` for its energy."""
    positions = 5.0 * np.arange(len(numbers))[:, None] * [1.0, 0, 0]
    total = sum(TRUE[z] for z in numbers) if energy == "sum" else energy
    return Frame(Structure(positions, numbers), Labels(total), group, f"s{len(numbers)}")


ISOLATED = [made([z]) for z in TRUE]
MOLECULES = [made([1, 1, 8], -2067.5), made([6, 1, 1, 1, 1], -1085.0), made([6, 8], -3072.0)]


def test_isolated_atoms_come_first():
    reference = fit_reference(ISOLATED + MOLECULES)
    assert reference.origin == "isolated atoms"
    np.testing.assert_array_equal(reference.values, [TRUE[z] for z in reference.numbers])
    assert reference.total(MOLECULES[0].structure) == pytest.approx(-2067.0, abs=1e-9)


def test_least_squares_finds_what_is_determined():
    frames = [made([1, 1, 8]), made([6, 1, 1, 1, 1]), made([6, 8]), made([1, 1])]
    reference = fit_reference(frames)
    assert reference.origin == "least squares"
    assert "collinear" not in reference.note
    # 1e-9 eV of 2000 eV: rounding times the table's condition number, about 10.
    np.testing.assert_allclose(reference.values, list(TRUE.values()), atol=1e-9)


def test_collinear_compositions_take_the_solution_of_minimum_norm_and_say_so():
    """Li-P-S as in the LiPS set: Li2S and P2S5 mixed; three species, two compositions."""
    a, b = [1, 1, 8], [6, 6, 8, 8, 8, 8, 8]
    frames = [made(a), made(b), made(a + b), made(2 * a + b)]
    reference = fit_reference(frames)
    assert "only 2 of 3 values" in reference.note
    assert "give isolated atoms" in reference.note
    for frame in frames:
        # Every energy of the span is right, to rounding.
        assert reference.total(frame.structure) == pytest.approx(frame.labels.energy, abs=1e-7)
    table = np.array([[2, 0, 1], [0, 2, 5.0]])
    expected = np.linalg.pinv(table) @ [frames[0].labels.energy, frames[1].labels.energy]
    np.testing.assert_allclose(reference.values, expected, atol=1e-8)
    assert composition_rank([f.structure for f in frames]).rank == 2


def test_one_composition_leaves_no_share_of_the_energy():
    """A ridge would leave a share of the total energy to be learned; here there is none."""
    frames = [made([6] * 9 + [1] * 8 + [8] * 4, -17617.0 + x) for x in (-0.1, 0.0, 0.1)]
    reference = fit_reference(frames)
    assert reference.total(frames[0].structure) == pytest.approx(-17617.0, abs=1e-8)


def test_given_values_override_isolated_atoms_and_fits():
    some = fit_reference(ISOLATED + MOLECULES, {"C": -1000.0})
    assert some.origin == "isolated atoms"
    assert dict(zip(some.numbers, some.values, strict=True)) == {**TRUE, 6: -1000.0}
    fitted = fit_reference([made([1, 1, 8]), made([1, 8])], {"O": -2040.0})
    np.testing.assert_allclose(fitted.values, [-13.5, -2040.0], atol=1e-9)
    every = fit_reference(MOLECULES, {"H": -1, "C": -2.0, "O": -3.0, "Fe": 9.0})
    assert every.origin == "given"
    assert every.numbers == (1, 6, 8)
    assert "Fe is not needed" in every.note


def test_isolated_atoms_of_some_species_are_not_mixed_with_fitted_values():
    frames = [ISOLATED[0], made([1, 1, 8], -2090.0), made([1, 8], -2070.0)]
    reference = fit_reference(frames)
    assert reference.origin == "least squares"
    np.testing.assert_allclose(reference.values, [-20.0, -2050.0], atol=1e-9)
    assert "no isolated atom of O" in reference.note


def test_a_species_known_only_as_isolated_atom_keeps_its_energy():
    frames = [ISOLATED[1], made([1, 1, 8]), made([1, 8])]
    reference = fit_reference(frames)
    np.testing.assert_allclose(reference.values, [TRUE[1], TRUE[6], TRUE[8]], atol=1e-9)


def test_without_energies_the_reference_is_zero_and_says_so():
    reference = fit_reference([Frame(Structure([[0.0, 0, 0], [1, 0, 0]], [1, 8]))])
    np.testing.assert_array_equal(reference.values, 0)
    assert "no energies" in reference.note


def test_isolated_atoms_that_contradict():
    with pytest.raises(InputError, match="isolated H has two energies"):
        fit_reference([made([1]), made([1], -12.0)])


def test_unknown_species_is_an_error_that_lists_the_known():
    with pytest.raises(InputError, match="no reference energy for C; known are H, O"):
        fit_reference([made([1, 8])]).total(made([6, 1]).structure)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"Hx": 1.0}, "no chemical element"), ({"H": float("nan")}, "must be a number")],
)
def test_given_values_that_are_none(given, message):
    with pytest.raises(InputError, match=message):
        fit_reference(MOLECULES, given)
