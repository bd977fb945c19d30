"""Small structures, batches of fixed shapes, and compiled functions that the tests share."""

from functools import partial

import equinox as eqx
import numpy as np

from gpjaxpot.covariance import blocks, linearised
from gpjaxpot.covariance.features import environments
from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.structures.batch import Batch, collate, neighbourhood
from gpjaxpot.structures.structure import Structure

CELL = np.array([[5.2, 0.0, 0.0], [1.1, 4.8, 0.0], [-0.7, 0.9, 5.5]])
SILICON = (14,)
WATER = (1, 8)
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def structure(species=SILICON, n=4, periodic=True, seed=0) -> Structure:
    """Random atoms in a skewed cell, or in a cluster; no two closer than 1.2 Å (images apart)."""
    rng = np.random.default_rng(seed)
    box = CELL if periodic else 0.7 * CELL
    points = []
    while len(points) < n:
        p = rng.uniform(0, 1, 3) @ box
        if all(np.linalg.norm(p - q) > 1.2 for q in points):
            points.append(p)
    numbers = rng.permutation(np.resize(species, n))
    return Structure(np.array(points), numbers, CELL if periodic else None, periodic)


def small_soap(species=SILICON, **settings) -> SOAP:
    """Descriptor that compiles fast and still has every part."""
    chosen = {"cutoff": 3.5, "n_max": 3, "l_max": 2, "sigma": 0.5} | settings
    return SOAP(**chosen, species=species)


def projected(soap, kept) -> SOAP:
    """The descriptor projected on random orthonormal directions, others for each species."""
    rng = np.random.default_rng(3)
    directions = [np.linalg.qr(rng.normal(size=(soap.n_spectrum, kept)))[0] for _ in soap.species]
    return small_soap(
        soap.species, cutoff=float(soap.cutoff), n_max=soap.n_max, l_max=soap.l_max, projection=np.stack(directions)
    )


def batch_of(structures, species, reach, *, slots=None, atoms=None) -> Batch:
    """Pad one structure, or a list, into a batch."""
    items = structures if isinstance(structures, list) else [structures]
    found = [neighbourhood(s, species, reach) for s in items]
    return collate(found, len(species), slots=slots, atoms=atoms)


# Arrays here are small and programs large: code that compiles fast is what counts.
quick_jit = partial(eqx.filter_jit, compiler_options={"xla_backend_optimization_level": 0})


def vectors(soap, batch):
    """Feature vectors of all places of a batch, as columns."""
    return soap(batch.displacements(), batch.mask, batch.species, batch.slots)


spectrum = quick_jit(vectors)


def features(soap, s, slots=None, atoms=None) -> np.ndarray:
    """Feature vector of each atom of a structure, or of all in a list, as rows."""
    batch = batch_of(s, soap.species, soap.reach, slots=slots, atoms=atoms)
    return np.asarray(spectrum(soap, batch)).T[np.asarray(batch.atom_mask)]


def moved(s, positions=None, cell=None, numbers=None) -> Structure:
    """Return a copy with some of its arrays replaced."""
    return Structure(
        s.positions if positions is None else positions,
        s.numbers if numbers is None else numbers,
        s.cell if cell is None else cell,
        s.pbc,
    )


def strained(s, strain) -> Structure:
    """Return the structure with positions and cell under 1 + strain."""
    f = np.eye(3) + strain
    return moved(s, s.positions @ f, s.cell @ f)


def voigt_strain(component, size) -> np.ndarray:
    """Symmetric strain of one Voigt component; its energy slope over V is the stress."""
    i, j = VOIGT[component]
    strain = np.zeros((3, 3))
    strain[i, j] += size / 2
    strain[j, i] += size / 2
    return strain


def rotation(seed, improper=False) -> np.ndarray:
    """Random orthogonal matrix of determinant 1, or −1."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diagonal(r))
    q = q * np.sign(np.linalg.det(q))
    return -q if improper else q


def rotated(s, q) -> Structure:
    """Return the structure turned by the orthogonal matrix q."""
    return moved(s, s.positions @ q.T, s.cell @ q.T)


@quick_jit
def plain_block(kernel, a, b):
    """cov([E, F, σ]) of two structures by nested AD: the definition."""
    return blocks.observable_block(kernel, a, b)


linear = quick_jit(linearised.linearise)
_staged = quick_jit(linearised.covariance)


def staged_block(kernel, a, b):
    """The same in stages."""
    return _staged(kernel, linear(kernel, a), linear(kernel, b))


_environments = quick_jit(environments)


def energy_covariance(kernel, first, second) -> np.ndarray:
    """Prior covariance of the energies of two lists of structures; lists are found anew."""
    sides = []
    for structures in (first, second):
        batch = batch_of(structures, kernel.species, kernel.reach)
        owner = np.asarray(batch.owner)
        sides.append((_environments(kernel, batch), owner[None] == np.arange(len(structures))[:, None]))
    (a, left), (b, right) = sides
    gram = np.asarray(kernel.gram(a.features, b.features, a.species, b.species))
    return left @ gram @ right.T


def perturbed(s, h) -> tuple[list[Structure], np.ndarray]:
    """Structures around `s`, and the linear map from their energies to [E, F, σ] of `s`.

    Central differences of step `h`, in Å and strain; an open structure has no stress rows.
    """
    copies, rows = [s], [{0: 1.0}]
    for atom in range(len(s)):
        for x in range(3):
            step = np.zeros((len(s), 3))
            step[atom, x] = h
            rows.append({len(copies): -0.5 / h, len(copies) + 1: 0.5 / h})
            copies += [moved(s, s.positions + step), moved(s, s.positions - step)]
    if s.volume is not None:
        for v in range(6):
            slope = 0.5 / h / s.volume
            rows.append({len(copies): slope, len(copies) + 1: -slope})
            copies += [strained(s, voigt_strain(v, h)), strained(s, voigt_strain(v, -h))]
    stencil = np.zeros((len(rows), len(copies)))
    for i, row in enumerate(rows):
        for j, weight in row.items():
            stencil[i, j] = weight
    return copies, stencil


def difference_block(kernel, a, b, h=1e-3) -> np.ndarray:
    """cov([E, F, σ]_a, [E, F, σ]_b) by finite differences, with neighbours found for every copy."""
    (first, left), (second, right) = perturbed(a, h), perturbed(b, h)
    return left @ energy_covariance(kernel, first, second) @ right.T


def observed(n_atoms, places) -> np.ndarray:
    """Rows of a padded block that belong to energy, real atoms and stress."""
    return np.r_[0, 1 : 1 + 3 * n_atoms, 1 + 3 * places : 7 + 3 * places]
