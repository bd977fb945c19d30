"""SOAP in DScribe's form against DScribe: vectors, and derivatives where it has analytical ones."""

import equinox as eqx
import jax
import numpy as np
import pytest

from gpjaxpot.descriptors.soap import SOAP
from tests.systems import batch_of, quick_jit, spectrum, structure, vectors


def judge_for(soap, periodic):
    from dscribe.descriptors import SOAP as Judge

    return Judge(
        r_cut=float(soap.cutoff), n_max=soap.n_max, l_max=soap.l_max, sigma=float(soap.sigma),
        rbf="gto", species=list(soap.species), periodic=periodic,
    )  # fmt: skip


def in_dscribe_order(soap, vectors):
    """Undo the √2 and put the entries where DScribe's `SOAP.get_location` says."""
    judge = judge_for(soap, False)
    n, q = soap.n_max, soap.channels
    upper = np.triu_indices(q)
    out = np.zeros((len(vectors), judge.get_number_of_features()))
    for l in range(soap.l_max + 1):
        full = np.zeros((len(vectors), q, q))
        block = vectors[:, l * len(upper[0]) : (l + 1) * len(upper[0])]
        full[:, upper[0], upper[1]] = block / np.where(upper[0] == upper[1], 1.0, np.sqrt(2.0))
        for a, za in enumerate(soap.species):
            for b, zb in enumerate(soap.species[a:], a):
                where = np.arange(judge.get_number_of_features())[judge.get_location((za, zb))]
                part = full[:, a * n : (a + 1) * n, b * n : (b + 1) * n]
                rows = part[:, *np.triu_indices(n)] if a == b else part.reshape(len(vectors), -1)
                out[:, where.reshape(soap.l_max + 1, -1)[l]] = rows
    return out


@pytest.mark.parametrize(
    ("species", "n_max", "l_max", "sigma"),
    [
        ((14,), 4, 3, 0.4),
        ((14,), 10, 8, 0.3),
        ((1, 6, 8), 4, 3, 0.4),
        ((1, 6, 8), 8, 6, 0.5),
    ],
)
@pytest.mark.parametrize("periodic", [False, True])
def test_equals_dscribe(species, n_max, l_max, sigma, periodic):
    soap = SOAP(4.0, n_max, l_max, sigma, species=species, dscribe=True)
    s = structure(species, 9, periodic)
    slots = tuple(96 // len(species) for _ in species)  # one shape, periodic or not
    batch = batch_of(s, species, soap.reach, slots=slots, atoms=9)
    actual = in_dscribe_order(soap, np.asarray(spectrum(soap, batch)).T)
    expected = judge_for(soap, periodic).create(s.to_ase())
    error = np.linalg.norm(actual - expected, axis=1) / np.linalg.norm(expected, axis=1)
    # DScribe's Löwdin matrix at n_max = 10 has lost some eight digits to its condition number.
    assert error.max() < 1e-6


@quick_jit
def position_jacobian(soap, batch):
    """Derivative [feature, centre, atom, xyz]."""

    def by_position(positions):
        return vectors(soap, eqx.tree_at(lambda b: b.positions, batch, positions))

    return jax.jacfwd(by_position)(batch.positions)


def test_derivatives_equal_dscribes_analytical_ones():
    species = (1, 8)
    soap = SOAP(4.0, 4, 3, 0.4, species=species, dscribe=True)
    s = structure(species, 5, periodic=False)
    jacobian = np.asarray(position_jacobian(soap, batch_of(s, species, soap.reach, atoms=5)))
    rows = np.moveaxis(jacobian, 0, -1)  # [centre, atom, xyz, feature]
    actual = in_dscribe_order(soap, rows.reshape(-1, rows.shape[-1])).reshape(*rows.shape[:-1], -1)
    # Attached: a centre moves with its atom, as ours do.
    expected = judge_for(soap, False).derivatives(
        s.to_ase(),
        centers=list(range(5)),
        method="analytical",
        attach=True,
        return_descriptor=False,
    )
    # As for the vectors: DScribe's constants carry some eight digits.
    np.testing.assert_allclose(actual, expected, atol=1e-7 * np.abs(expected).max())
