"""A zoo of broken data sets: real lithium, spoilt in one way each, as the text of a file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from gpjaxpot import units
from gpjaxpot.datasets import lithium
from gpjaxpot.structures.extxyz_text import format_frame
from tests.structures import trajectory

ALL = range(12)
STEPS = range(trajectory.N_FRAMES)


@dataclass
class Sheet:
    """One frame as arrays that may be changed."""

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray
    pbc: object
    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    group: str | None

    def text(self) -> str:
        from gpjaxpot.structures.structure import Structure

        info = {"config_type": self.group, "energy": self.energy, "stress": self.stress}
        info = {key: value for key, value in info.items() if value is not None}
        structure = Structure(self.positions, self.numbers, self.cell, self.pbc)
        return format_frame(structure, info, {"forces": self.forces})


@dataclass(frozen=True)
class Beast:
    """How to spoil the sheets, the code of the finding, and the frames it must name."""

    spoil: Callable[[list[Sheet]], Sequence[Sheet] | None]
    code: str
    frames: tuple[int, ...]
    words: str = ""

    def text(self) -> str:
        """Return the text of the broken file."""
        sheets = healthy()
        changed = self.spoil(sheets)
        return "".join(sheet.text() for sheet in (sheets if changed is None else changed))


@cache
def _frames():
    return lithium()[1]


def healthy() -> list[Sheet]:
    """Return the twelve frames of the test part of the shipped lithium, to be spoilt."""
    return [
        Sheet(
            f.structure.positions.copy(),
            f.structure.numbers.copy(),
            f.structure.cell.copy(),
            f.structure.pbc,
            f.labels.energy,
            f.labels.forces.copy(),
            f.labels.stress.copy(),
            f.group,
        )
        for f in _frames()
    ]


def each(**changes: Callable[[Sheet], object]):
    """Return what sets attributes of every sheet, from the sheet as it was."""

    def spoil(sheets):
        for sheet in sheets:
            values = {name: change(sheet) for name, change in changes.items()}
            for name, value in values.items():
                setattr(sheet, name, value)

    return spoil


def one(place: int, **changes: Callable[[Sheet], object]):
    """Return what sets attributes of one sheet."""
    return lambda sheets: each(**changes)(sheets[place : place + 1])


def volume(sheet: Sheet) -> float:
    return abs(np.linalg.det(sheet.cell))


def turned(sheet: Sheet, energy: float = 0.0) -> Sheet:
    """Return the structure rotated, moved and in the opposite order, its energy raised."""
    angle = 0.7
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    return Sheet(
        (sheet.positions @ turn + [0.3, 1.0, -2.0])[::-1],
        sheet.numbers,
        sheet.cell @ turn,
        sheet.pbc,
        sheet.energy + energy,
        (sheet.forces @ turn)[::-1],
        None,
        sheet.group,
    )


def again(place: int, energy: float = 0.0, forces: float = 1.0):
    """Return what appends a copy of one sheet, to the letter, with other labels."""

    def spoil(sheets):
        (copy,) = healthy()[place : place + 1]
        copy.energy += energy
        copy.forces *= forces
        return [*sheets, copy]

    return spoil


def two_levels(sheets):
    """Add the last eight structures again, slightly rattled, at another level of theory."""
    generator = np.random.default_rng(0)
    for sheet in healthy()[4:]:
        sheet.positions += generator.normal(scale=0.02, size=sheet.positions.shape)
        sheet.energy += 1.5 * len(sheet.numbers)
        sheet.group = "other functional"
        sheets.append(sheet)
    return sheets


def along(energy: Callable[[list[dict], int], float], group: Callable[[int], str] = lambda i: "MD"):
    """Return what puts a trajectory in place of the sheets, with this energy and this group at each step."""

    def spoil(_):
        steps = trajectory.steps()
        return [
            Sheet(
                s["atoms"].positions.copy(),
                s["atoms"].numbers,
                np.array(s["atoms"].cell),
                True,
                energy(steps, i),
                s["forces"],
                s["stress"],
                group(i),
            )
            for i, s in enumerate(steps)
        ]

    return spoil


def close(distance: float):
    """Return what moves the second atom of frame 5 to this distance from the first."""

    def positions(sheet):
        moved = sheet.positions.copy()
        moved[1] = moved[0] + [distance, 0, 0]
        return moved

    return one(5, positions=positions)


def pulled(size: float, opposite: bool):
    """Return what adds a force to the first atom of frame 3, and its opposite to the second."""

    def forces(sheet):
        changed = sheet.forces.copy()
        changed[0, 0] += size
        changed[1, 0] -= size if opposite else 0.0
        return changed

    return one(3, forces=forces)


def _voigt(*order: int):
    return each(stress=lambda s: s.stress[list(order)])


ZOO = {
    "forces are gradients": Beast(each(forces=lambda s: -s.forces), "force-sign", ALL),
    "energies upside down": Beast(each(energy=lambda s: -s.energy), "force-sign", ALL),
    "energies in kcal/mol": Beast(
        each(energy=lambda s: s.energy * units.EV_TO_KCAL_PER_MOL), "force-energy-units", ALL, "energies in kcal/mol"
    ),
    "energies in kJ/mol": Beast(
        each(energy=lambda s: s.energy * units.EV_TO_KJ_PER_MOL), "force-energy-units", ALL, "energies in kJ/mol"
    ),
    "energies in hartree": Beast(
        each(energy=lambda s: s.energy * units.EV_TO_HARTREE), "force-energy-units", ALL, "energies in hartree"
    ),
    "energies in rydberg": Beast(
        each(energy=lambda s: s.energy * units.EV_TO_RYDBERG), "force-energy-units", ALL, "energies in Ry"
    ),
    "energies per atom": Beast(
        each(energy=lambda s: s.energy / len(s.numbers)), "energy-per-atom", ALL, "total energies"
    ),
    "forces in kcal/mol/Å": Beast(
        each(forces=lambda s: s.forces * units.EV_TO_KCAL_PER_MOL), "force-energy-units", ALL, "forces in kcal/mol/Å"
    ),
    "forces in hartree/bohr": Beast(
        each(forces=lambda s: s.forces * units.EV_PER_A_TO_HARTREE_PER_BOHR),
        "force-energy-units",
        ALL,
        "forces in hartree/bohr",
    ),
    "forces in eV/bohr": Beast(
        each(forces=lambda s: s.forces * units.BOHR_TO_A), "force-energy-units", ALL, "forces per bohr"
    ),
    "forces times seven": Beast(each(forces=lambda s: s.forces * 7.0), "force-energy-slope", ALL),
    "everything in kcal/mol": Beast(
        each(energy=lambda s: s.energy * 300.0, forces=lambda s: s.forces * 300.0), "force-size", ALL, "kcal/mol/Å"
    ),
    "pressure for stress": Beast(each(stress=lambda s: -s.stress), "stress-sign", ALL, "multiply it by -1"),
    "stress in GPa": Beast(each(stress=lambda s: s.stress * units.EV_PER_A3_TO_GPA), "stress-units", ALL, "in GPa"),
    "stress in kbar": Beast(each(stress=lambda s: s.stress * units.EV_PER_A3_TO_KBAR), "stress-units", ALL, "in kbar"),
    "pressure in kbar, as VASP prints": Beast(
        each(stress=lambda s: -s.stress * units.EV_PER_A3_TO_KBAR), "stress-sign", ALL
    ),
    "stress in hartree/bohr³": Beast(
        each(stress=lambda s: s.stress * units.EV_PER_A3_TO_HARTREE_PER_BOHR3), "stress-units", ALL, "hartree/bohr³"
    ),
    "virial under the name of stress": Beast(
        each(stress=lambda s: -s.stress * volume(s)), "stress-units", ALL, "divide by the volume"
    ),
    "shears in VASP's order": Beast(_voigt(0, 1, 2, 5, 3, 4), "stress-order", ALL, "xx yy zz yz xz xy"),
    "one energy of another calculation": Beast(
        one(4, energy=lambda s: s.energy - 20.0 * len(s.numbers)), "energy-outlier", (4,)
    ),
    "two levels of theory": Beast(two_levels, "energy-offset", tuple(range(12, 20)), "other functional"),
    "smeared energies, not free ones": Beast(
        along(lambda s, i: s[i]["energy"] + s[i]["smearing"]), "energy-residual", STEPS, "free energy"
    ),
    "kinetic energy in the energies": Beast(
        along(lambda s, i: s[i]["energy"] + s[i]["kinetic"]), "energy-residual", STEPS, "kinetic energy"
    ),
    "energies of one digit": Beast(along(lambda s, i: round(s[i]["energy"], 1)), "energy-residual", STEPS, "digits"),
    "energies of other frames": Beast(
        along(lambda s, i: s[(i + 11) % len(s)]["energy"]), "energy-unrelated", STEPS, "in the same order"
    ),
    "a group with another plane-wave cutoff": Beast(
        along(lambda s, i: s[i]["energy"] + 0.16 * (i % 4 == 3), lambda i: "low cutoff" if i % 4 == 3 else "MD"),
        "energy-offset",
        tuple(range(3, trajectory.N_FRAMES, 4)),
        "group low cutoff (10) against group MD (30)",
    ),
    "energy 0 for missing": Beast(one(7, energy=lambda s: 0.0), "zero-energy", (7,), "remove the label"),
    "forces 0 for missing": Beast(each(forces=lambda s: 0.0 * s.forces), "zero-forces", ALL, "remove the label"),
    "stress 0 for missing": Beast(each(stress=lambda s: 0.0 * s.stress), "zero-stress", ALL, "remove the label"),
    "one energy for all": Beast(each(energy=lambda s: -10.0), "constant-energy", ALL, "the key that holds"),
    "force of 400 eV/Å": Beast(pulled(400.0, opposite=True), "force-outlier", (3,)),
    "an external force": Beast(pulled(0.3, opposite=False), "net-force", (3,)),
    "overlapping atoms": Beast(close(0.1), "overlap", (5,), "mend cell and positions"),
    "atoms too near": Beast(close(0.9), "close", (5,)),
    "positions in nm": Beast(
        each(positions=lambda s: s.positions / 10, cell=lambda s: s.cell / 10), "overlap", ALL, "in nm"
    ),
    "positions in bohr": Beast(
        each(positions=lambda s: s.positions * units.A_TO_BOHR, cell=lambda s: s.cell * units.A_TO_BOHR),
        "length-units",
        ALL,
        "bohr",
    ),
    "a frame twice": Beast(again(2), "duplicate", (12,), "keep one"),
    "a frame twice, two energies": Beast(again(2, energy=1.0), "contradiction", (2, 12), "keep the right one"),
    "a frame twice, two sets of forces": Beast(again(2, forces=-1.0), "contradiction", (2, 12), "keep the right one"),
    "a frame turned and reordered": Beast(lambda sheets: [*sheets, turned(sheets[2])], "copy", (12,)),
    "a frame turned, another energy": Beast(
        lambda sheets: [*sheets, turned(sheets[2], 5.0)], "copy-contradiction", (2, 12)
    ),
    "a crystal called an isolated atom": Beast(one(1, group=lambda s: "IsolatedAtom"), "not-isolated", (1,)),
}
