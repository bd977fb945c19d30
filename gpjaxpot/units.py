"""Factors between the package's units (eV, Å, eV/Å, eV/Å³) and other people's.

Multiply a value in the first unit of a name by the factor to get the second:
``stress_GPa = stress * EV_PER_A3_TO_GPA``; divide to go back. Made from the CODATA 2022
values below, which a test holds against `scipy.constants`.
"""

ELEMENTARY_CHARGE = 1.602176634e-19
"""Coulomb, exact since 2019; so also joule in one eV."""
AVOGADRO = 6.02214076e23
"""Particles per mole, exact since 2019."""
HARTREE_TO_EV = 27.211386245981
"""CODATA 2022, Hartree energy in eV."""
BOHR_TO_A = 0.529177210544
"""CODATA 2022, Bohr radius in Å."""
CALORIE = 4.184
"""Joule in one thermochemical calorie, exact."""

EV_TO_MEV = 1e3
EV_TO_HARTREE = 1 / HARTREE_TO_EV
EV_TO_RYDBERG = 2 / HARTREE_TO_EV
EV_TO_KJ_PER_MOL = ELEMENTARY_CHARGE * AVOGADRO / 1e3
EV_TO_KCAL_PER_MOL = EV_TO_KJ_PER_MOL / CALORIE
A_TO_BOHR = 1 / BOHR_TO_A

EV_PER_A_TO_MEV_PER_A = 1e3
EV_PER_A_TO_HARTREE_PER_BOHR = BOHR_TO_A / HARTREE_TO_EV
EV_PER_A_TO_KCAL_PER_MOL_PER_A = EV_TO_KCAL_PER_MOL

EV_PER_A3_TO_GPA = ELEMENTARY_CHARGE * 1e30 / 1e9
EV_PER_A3_TO_KBAR = EV_PER_A3_TO_GPA * 10
EV_PER_A3_TO_HARTREE_PER_BOHR3 = BOHR_TO_A**3 / HARTREE_TO_EV
