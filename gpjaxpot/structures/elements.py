"""Chemical symbols and the atomic numbers they stand for."""

import re
from collections.abc import Iterable

from gpjaxpot.errors import InputError, did_you_mean

SYMBOLS = tuple(
    re.findall(
        "[A-Z][a-z]?",
        """X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge
        As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu
        Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu
        Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og""",
    )
)
"""Symbol of each atomic number; number 0 is no element."""

_NUMBERS = {name: number for number, name in enumerate(SYMBOLS) if number}


def symbol(number: int) -> str:
    """Return the chemical symbol of an atomic number, 1 to 118."""
    return SYMBOLS[number]


def symbols(numbers: Iterable[int]) -> str:
    """Return the symbols of `numbers` in their order, separated by ", "."""
    return ", ".join(symbol(int(number)) for number in numbers)


def atomic_number(name: str) -> int:
    """Return the atomic number of a symbol; case does not matter, and "14" is 14.

    Raises:
        InputError: if it names no element.
    """
    number = int(name) if name.isdecimal() else _NUMBERS.get(name.capitalize(), 0)
    if not 0 < number < len(SYMBOLS):
        raise InputError(f"'{name}' is no chemical element{did_you_mean(name, _NUMBERS)}")
    return number
