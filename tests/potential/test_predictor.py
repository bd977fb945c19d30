"""Neighbour lists and shapes kept between predictions, and how often they are compiled."""

import jax
import numpy as np
import pytest
from ase.build import bulk

import gpjaxpot as gp
from gpjaxpot.potential.predictor import Neighbours, evaluate_leaves

SKIN = 0.6


def crystal(seed, repeats=2, scale=0.1):
    atoms = bulk("Si", "diamond", a=5.0, cubic=True).repeat((repeats, 1, 1))
    atoms.positions += np.random.default_rng(seed).normal(scale=scale, size=(len(atoms), 3))
    return gp.Structure.from_ase(atoms)


def moved(structure, by):
    positions = np.array(structure.positions)
    positions[0, 0] += by
    return gp.Structure(positions, structure.numbers, structure.cell, structure.pbc)


def test_a_list_is_kept_within_the_skin_and_predicts_the_same(sparse):
    kept, first = sparse.neighbours(SKIN), crystal(0)
    for by in (0.0, 0.1, 0.29, 0.35):
        s = moved(first, by)
        ours, plain = sparse.predict(s, uncertainty=True, neighbours=kept), sparse.predict(s, uncertainty=True)
        assert kept.searches == (1 if by < SKIN / 2 else 2)
        for name in ("energy", "forces", "stress", "forces_epistemic_std"):
            # Pairs beyond the cutoff weigh exactly nothing: what is left is the order of sums.
            np.testing.assert_allclose(getattr(ours, name), getattr(plain, name), atol=1e-9)


def test_spreads_are_made_without_the_pairs_of_the_skin(sparse):
    kept, s = sparse.neighbours(SKIN), crystal(0)
    within = sparse.neighbours().batch(s)
    np.testing.assert_array_equal(kept.close(s).mask.sum(), within.mask.sum())
    assert kept.batch(s).mask.sum() > within.mask.sum()


@pytest.mark.parametrize(("sizes", "places"), [((16, 9, 8), (16, 16, 16)), ((16, 7, 16), (16, 8, 16))])
def test_places_for_atoms_stay_while_half_of_them_are_used(sparse, sizes, places):
    kept, s = Neighbours(sparse.kernel), crystal(0)
    for size, place in zip(sizes, places, strict=True):
        part = gp.Structure(s.positions[:size], s.numbers[:size], s.cell, s.pbc)
        assert kept.batch(part).n_atoms == place


def test_dynamics_compile_at_most_three_times_and_conserve_energy(sparse, frames):
    from ase import units
    from ase.md.verlet import VelocityVerlet

    atoms = frames[0].structure.to_ase()
    atoms.calc = gp.Calculator(sparse)
    jax.clear_caches()
    dynamics, total, kinetic = VelocityVerlet(atoms, 0.5 * units.fs), [], []
    dynamics.attach(lambda: total.append(atoms.get_total_energy()))
    dynamics.attach(lambda: kinetic.append(atoms.get_kinetic_energy()))
    dynamics.run(400)
    assert 1 <= evaluate_leaves._cache_size() <= 3
    slope = np.polyfit(np.arange(len(total)), np.array(total), 1)[0] * len(total)
    # Of the energy that goes to and fro, Verlet's shadow keeps all but its error of second order.
    assert max(kinetic) > 0.05
    assert abs(slope) < 1e-3 * max(kinetic)


def test_atoms_that_moved_are_not_checked_anew_and_others_are(sparse):
    kept, s = sparse.neighbours(SKIN), crystal(0)
    kept.batch(s)
    atoms = moved(s, 0.1).to_ase()
    again = kept.structure(atoms)
    np.testing.assert_array_equal(again.positions, atoms.positions)
    assert again.numbers is s.numbers
    assert again.cell is s.cell
    atoms.positions[0] = 1.0  # of the caller's array, the structure has its own
    assert not np.array_equal(again.positions, atoms.positions)
    atoms.cell[0, 0] += 1.0
    assert kept.structure(atoms).cell[0, 0] == s.cell[0, 0] + 1.0
    atoms.pbc = False
    assert kept.structure(atoms).pbc == (False, False, False)
    atoms.positions[0, 0] = np.nan
    with pytest.raises(gp.errors.InputError, match="atom 0"):
        kept.structure(atoms)


def test_what_is_kept_is_of_the_same_model_and_atoms(sparse):
    """Another model's mean, another precision and other atoms are predicted as without anything kept."""
    kept, s = sparse.neighbours(SKIN), crystal(0)
    drawn = sparse.sample(jax.random.key(0))
    shorter = gp.Structure(s.positions[:-1], s.numbers[:-1], s.cell, s.pbc)
    for potential, shown, dtype in (
        (sparse, s, "float64"),
        (drawn, s, "float64"),
        (sparse, moved(s, 0.1), "float32"),
        (sparse, shorter, "float64"),
    ):
        ours = potential.predict(shown, dtype=dtype, neighbours=kept)
        plain = potential.predict(shown, dtype=dtype)
        assert abs(ours.energy - plain.energy) < (1e-8 if dtype == "float64" else 1e-3 * len(shown))
        np.testing.assert_allclose(ours.forces, plain.forces, atol=1e-8 if dtype == "float64" else 1e-2)
    assert abs(drawn.predict(s).energy - sparse.predict(s).energy) > 1e-4
