"""A quick model of the forces alone, to hold the other labels against."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import solve_triangular

from gpjaxpot.structures.distances import nearest_distance
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.quick_basis import QuickBasis

CUTOFF = 5.5
"""Å; two to three shells of a solid, a molecule's bonds and what they turn about."""
MOST_ATOMS = 3000
"""Enough to fix a few hundred coefficients; more would only take longer."""
FEWEST_FRAMES = 24
"""Fewer energies tell no slope, so that large structures may take `MOST_ATOMS` twice."""
# Atoms treated together, for speed; the columns of these stay below 100 MB.
_CHUNK = 400
_NEAREST = 0.3  # Å
# A structure with forces this many times the median of the largest would rule the fit.
_WILD = 20.0
_RIDGE = 1e-6


@dataclass(frozen=True)
class ForceFit:
    """What forces alone say about energies, which have no zero, and stresses.

    `share` is that of the weighted squares of the forces which the model explains;
    `spread @ spread.T` is the covariance of `energies` that is left by the forces.
    """

    frames: Int[np.ndarray, " structures"]
    """Places of the structures used, in the list that was given."""
    share: float
    energies: Float[np.ndarray, " structures"]
    spread: Float[np.ndarray, "structures features"]
    stresses: Float[np.ndarray, "structures 6"]
    """eV/Å³, Voigt, tension positive; NaN where the structure is not periodic."""


def fit_forces(frames: Sequence[Frame]) -> ForceFit | None:
    """Fit the functions of `QuickBasis` to forces by weighted, slightly damped least squares.

    Each atom's weight is 1/(|F| + median |F|), so that hot structures do not outshout the others.
    Of large sets evenly spaced structures are used, always the same ones; takes a few seconds.
    None without at least two structures with forces and neighbours.
    """
    where = _chosen(frames)
    structures = [frames[i].structure for i in where]
    nearest = [d for d in (nearest_distance(s, CUTOFF) for s in structures) if d is not None]
    if len(where) < 2 or not nearest:
        return None
    species = sorted({int(z) for s in structures for z in np.unique(s.numbers)})
    basis = QuickBasis(species, 0.9 * min(nearest), CUTOFF)
    parts = [basis.columns(structures[a:b]) for a, b in _chunks([len(s) for s in structures])]
    forces = np.concatenate([_forces(frames[i]) for i in where])
    size = np.linalg.norm(forces, axis=1)
    if not size.any():
        return None
    weight = np.repeat(1.0 / (size + max(float(np.median(size)), 1e-3 * size.max())), 3)
    table = np.concatenate([part.forces for part in parts]) * weight[:, None]
    wanted = forces.reshape(-1) * weight
    scale = np.sqrt(np.mean(table**2, axis=0))
    scale = np.where(scale > 1e-10 * scale.max(), scale, np.inf)
    table /= scale
    n, width = table.shape
    factor = np.linalg.cholesky(table.T @ table + _RIDGE * n * np.eye(width))
    whitened = solve_triangular(factor, table.T @ wanted, lower=True)
    scaled = solve_triangular(factor.T, whitened)
    coefficients, rest = scaled / scale, wanted - table @ scaled
    # Of few forces nearly as many coefficients are fitted: then what is left says too little.
    variance = float(rest @ rest) / max(n - width, n / 10)
    energies = np.concatenate([part.energies for part in parts])
    spread = solve_triangular(factor, (energies / scale).T, lower=True).T * np.sqrt(variance)
    strains = np.concatenate([part.strains for part in parts]) @ coefficients
    volumes = np.array([np.nan if s.volume is None else s.volume for s in structures])
    return ForceFit(
        np.array(where),
        1.0 - float(rest @ rest) / float(wanted @ wanted),
        energies @ coefficients,
        spread,
        strains / volumes[:, None],
    )


def _chosen(frames: Sequence[Frame]) -> list[int]:
    """Return the places of usable structures, evenly spaced over the list where there are many."""
    usable = [i for i, frame in enumerate(frames) if _usable(frame)]
    if not usable:
        return []
    largest = np.array([float(np.abs(_forces(frames[i])).max()) for i in usable])
    calm = largest <= _WILD * max(float(np.median(largest)), 1e-3)
    usable = [i for i, kept in zip(usable, calm, strict=True) if kept]
    sizes = np.array([len(frames[i].structure) for i in usable])
    count = max(MOST_ATOMS / sizes.mean(), min(FEWEST_FRAMES, 2 * MOST_ATOMS / sizes.mean()))
    step = np.linspace(0, len(usable) - 1, min(len(usable), max(2, int(count))))
    return [usable[k] for k in np.unique(np.rint(step).astype(int)) if sizes[k] <= MOST_ATOMS]


def _usable(frame: Frame) -> bool:
    structure, forces = frame.structure, frame.labels.forces
    if forces is None or frame.isolated or len(structure) < 2:
        return False
    if not (np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all()):
        return False
    return bool(np.isfinite(forces).all()) and nearest_distance(structure, _NEAREST) is None


def _forces(frame: Frame) -> np.ndarray:
    return np.asarray(frame.labels.forces)


def _chunks(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return first and last place of runs of structures with few atoms together."""
    runs, first, total = [], 0, 0
    for i, size in enumerate(sizes):
        if total and total + size > _CHUNK:
            runs.append((first, i))
            first, total = i, 0
        total += size
    return [*runs, (first, len(sizes))]
