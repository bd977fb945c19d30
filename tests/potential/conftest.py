"""One small exact and one small sparse potential, shared by the tests of this folder."""

import numpy as np
import pytest

import gpjaxpot as gp
from tests.systems import CELL


def labelled(n_frames, species=(14,), n=4, seed=0, periodic=True, stress=True):
    """Frames with labels from a smooth pair potential, whose forces and stress are its derivatives."""
    from ase import Atoms
    from ase.calculators.morse import MorsePotential

    rng = np.random.default_rng(seed)
    frames = []
    base = np.array([[0.1, 0.1, 0.1], [0.5, 0.55, 0.1], [0.5, 0.1, 0.6], [0.05, 0.55, 0.55]])[:n]
    cell = CELL if periodic else None
    for k in range(n_frames):
        positions = base @ CELL + rng.normal(scale=0.15, size=(n, 3))
        atoms = Atoms(np.resize(species, n), positions, cell=cell, pbc=periodic)
        atoms.calc = MorsePotential(epsilon=0.5, r0=2.4, rho0=3.0, rcut1=3.0, rcut2=3.4)
        labels = gp.Labels(
            atoms.get_potential_energy(),
            atoms.get_forces(),
            atoms.get_stress() if periodic and stress else None,
        )
        frames.append(gp.Frame(gp.Structure.from_ase(atoms), labels, source=f"frame {k}"))
    return frames


def soap(**more):
    """Descriptor that compiles fast."""
    return gp.SOAP(**({"cutoff": 3.5, "n_max": 3, "l_max": 2, "sigma": 0.5} | more))


def settings(*overrides):
    """Fixed noise and variance unless overridden."""
    fixed = ["kernel.variance=1.0", "noise.energy=0.002", "noise.forces=0.02", "noise.stress=0.001"]
    return gp.load_settings(None, [*fixed, *overrides])


@pytest.fixture(scope="session")
def frames():
    """Eight structures of four atoms."""
    return labelled(8)


@pytest.fixture(scope="session")
def exact(frames):
    """Exact potential on energies, forces and stresses."""
    return gp.fit(frames[:6], soap(), gp.DotPower(2), settings=settings("model.method=exact"))


@pytest.fixture(scope="session")
def sparse(frames):
    """Sparse potential whose inducing environments are all those of the training set."""
    chosen = settings("model.method=sparse", "model.n_inducing=24", "model.selection=farthest")
    return gp.fit(frames[:6], soap(), gp.DotPower(2), settings=chosen)


MIXED = 0.5 * gp.DotPower(2) + 0.1 * gp.DotPower(1)


def mixed_soap():
    """Descriptor of two species with twenty components."""
    return soap(n_max=2, l_max=1)


@pytest.fixture(scope="session")
def mixed_frames():
    """Twelve structures of two species, and one more."""
    first = labelled(7, species=(14, 32), seed=2)
    return [*first[:6], *labelled(6, species=(32, 14), seed=4), first[6]]


@pytest.fixture(scope="session")
def mixed_exact(mixed_frames):
    """Exact potential of two species on the twelve, with a kernel of linear and quadratic parts."""
    return gp.fit(mixed_frames[:12], mixed_soap(), MIXED, settings=settings("model.method=exact"))
