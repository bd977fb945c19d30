"""Frames for reports, the page's text without its pictures, and what hostile names look like."""

import re

import numpy as np

from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.structure import Structure
from tests.applications.fakes import FakePotential

HOSTILE_GROUP = "<script>document.body.dataset.hacked = 'group'</script>"
HOSTILE_SOURCE = "</script><img src=x onerror=\"document.body.dataset.hacked='source'\">"
FIGURES = (
    "parity_energy",
    "parity_forces",
    "parity_stress",
    "force_error_against_reference",
    "reliability",
    "pit_histogram",
    "coverage",
    "force_error_against_sigma",
    "energy_and_force_std",
    "retrieval",
)


def make_frames(count=12, periodic=True, groups=("bulk", "surface"), energies=True, stress=True, source="test.xyz"):
    """Return frames of hydrogen, oxygen and silicon whose labels differ from the fake's answers by draws."""
    rng = np.random.default_rng(0)
    frames = []
    for index in range(count):
        n = 3 + index % 4
        numbers = np.resize([14, 8, 1], n)
        structure = Structure(rng.normal(size=(n, 3)), numbers, 4 * np.eye(3) if periodic else None, periodic)
        truth = FakePotential().predict(structure)
        labels = Labels(
            energy=truth.energy + 0.05 * rng.normal() if energies else None,
            forces=truth.forces + 0.05 * rng.normal(size=(n, 3)),
            stress=truth.stress + 0.002 * rng.normal(size=6) if periodic and stress else None,
        )
        group = groups[index % len(groups)] if groups else None
        frames.append(Frame(structure, labels, group, f"{source}, frame {index}"))
    return frames


def without_pictures(page):
    """Return the page with the content of data URIs left out."""
    return re.sub(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+", "data:", page)
