"""Unit factors against scipy.constants."""

import pytest
from scipy import constants

from gpjaxpot import units

E = constants.e
HARTREE = constants.value("Hartree energy in eV")
BOHR = constants.value("Bohr radius") * 1e10


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("HARTREE_TO_EV", HARTREE),
        ("BOHR_TO_A", BOHR),
        ("ELEMENTARY_CHARGE", E),
        ("AVOGADRO", constants.N_A),
        ("CALORIE", constants.calorie),
        ("EV_TO_MEV", 1 / constants.milli),
        ("EV_TO_HARTREE", 1 / HARTREE),
        ("EV_TO_RYDBERG", 2 / HARTREE),
        ("EV_TO_KJ_PER_MOL", E * constants.N_A / constants.kilo),
        ("EV_TO_KCAL_PER_MOL", E * constants.N_A / (constants.kilo * constants.calorie)),
        ("A_TO_BOHR", 1 / BOHR),
        ("EV_PER_A_TO_MEV_PER_A", 1000),
        ("EV_PER_A_TO_HARTREE_PER_BOHR", BOHR / HARTREE),
        ("EV_PER_A_TO_KCAL_PER_MOL_PER_A", E * constants.N_A / 4184),
        ("EV_PER_A3_TO_GPA", E / constants.angstrom**3 / constants.giga),
        ("EV_PER_A3_TO_KBAR", E / constants.angstrom**3 / (constants.kilo * constants.bar)),
        ("EV_PER_A3_TO_HARTREE_PER_BOHR3", BOHR**3 / HARTREE),
    ],
)
def test_factor_equals_scipy(name, expected):
    # 1e-8: scipy's CODATA edition may be older or newer than ours; editions differ by 1e-9.
    assert getattr(units, name) == pytest.approx(expected, rel=1e-8)


def test_every_factor_is_tested():
    cases = test_factor_equals_scipy.pytestmark[0].args[1]
    assert {name for name in dir(units) if name.isupper()} == {name for name, _ in cases}
