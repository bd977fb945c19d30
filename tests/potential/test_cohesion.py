"""Cohesion: whole for bound atoms, gone with the last neighbour, smooth between, and no part of what is learned."""

import json
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

import gpjaxpot as gp
from gpjaxpot.potential.cohesion import Cohesion
from gpjaxpot.potential.cohesive_energies import choose_cohesion
from gpjaxpot.potential.predictor import single
from gpjaxpot.structures.distances import covalent_radii
from gpjaxpot.structures.reference import fit_reference, with_cohesion
from tests.potential.conftest import labelled, settings, soap
from tests.systems import CELL, WATER, batch_of, moved, rotated, rotation, strained, voigt_strain

ALONE = -3.0
DEEP = 4.0


def pair_at(length):
    return gp.Frame(gp.Structure(np.array([[0.0, 0, 0], [length, 0, 0]]), [14, 14]), gp.Labels(-9.0))


def in_a_box(length):
    box = gp.Structure(np.zeros((1, 3)), [14], length * np.eye(3), True)
    return gp.Frame(box, gp.Labels(ALONE), "isolated_atom")


def isolated(z=14, energy=ALONE):
    return gp.Frame(gp.Structure(np.zeros((1, 3)), np.array([z])), gp.Labels(energy), source="one atom")


def bound(n=6):
    """Frames whose atoms lie some eV lower than one of theirs alone, and each have another one near."""
    near = [f for k, f in enumerate(labelled(n + 1)) if k != 1]
    return [eqx.tree_at(lambda f: f.labels.energy, f, f.labels.energy + 4 * (ALONE - DEEP)) for f in near]


@pytest.fixture(scope="module")
def cohesive():
    return gp.fit([*bound(), isolated()], farther(), gp.DotPower(2), settings=settings("model.method=exact"))


def farther():
    """Descriptor within whose cutoff atoms that are near weigh enough."""
    return soap(cutoff=4.5)


def sparser():
    """Four atoms that lack neighbours: a vacuum in one direction, and one atom on its way into it."""
    s = labelled(8)[7].structure
    cell = CELL.copy()
    cell[2] *= 3.0
    at = np.array(s.positions)
    at[3] += np.array([-0.4, 0.5, 0.8])
    return gp.Structure(at, s.numbers, cell, True)


def written_out(numbers, positions, energies, enough, cutoff):
    """What each atom of a cluster lacks, in plain loops."""
    lacks = np.zeros(len(numbers))
    for i, z in enumerate(numbers):
        n = 0.0
        for j in range(len(numbers)):
            u = np.linalg.norm(positions[j] - positions[i]) / cutoff
            if i != j and u < 1.0:
                n += 1.0 - 10.0 * u**3 + 15.0 * u**4 - 6.0 * u**5
        lacks[i] = -energies[z] * max(0.0, 1.0 - n / enough[z]) ** 3
    return lacks


def test_energies_of_two_species_are_the_plain_sums():
    rng = np.random.default_rng(1)
    numbers, positions = np.array([1, 8, 8, 1, 1]), rng.uniform(0, 4.0, size=(5, 3))
    cohesion = Cohesion(jnp.array([-2.0, -5.0]), jnp.array([0.8, 2.0]), jnp.array(3.1))
    batch = batch_of(gp.Structure(positions, numbers), WATER, 3.5, atoms=8)
    lost = np.asarray(cohesion.energies(batch.displacements(), batch))
    expected = written_out(numbers, positions, {1: -2.0, 8: -5.0}, {1: 0.8, 8: 2.0}, 3.1)
    assert np.count_nonzero(expected) >= 2
    np.testing.assert_allclose(lost[:5], expected, rtol=1e-12)
    np.testing.assert_array_equal(lost[5:], 0.0)
    rounded, small = single((cohesion, batch))
    lost = rounded.energies(small.displacements(), small)
    assert lost.dtype == jnp.float32
    np.testing.assert_allclose(lost[:5], expected, rtol=1e-4, atol=1e-6)


def test_it_is_smooth_to_the_second_derivative():
    """Where an atom has just enough neighbours, and where its last one leaves the cutoff."""
    cohesion = Cohesion(jnp.array([-4.0]), jnp.array([0.5]), jnp.array(3.0))
    pair = gp.Structure(np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0]]), np.array([14, 14]))
    batch = batch_of(pair, (14,), 3.5, atoms=4)

    @jax.jit
    def three(d):
        def energy(d):
            at = jnp.zeros((4, 3)).at[1, 0].set(d)
            return jnp.sum(cohesion.energies(replace(batch, positions=at).displacements(), batch))

        return jnp.stack([energy(d), jax.grad(energy)(d), jax.grad(jax.grad(energy))(d)])

    # S is a half at half of the cutoff: there the pair has just enough.
    for edge in (1.5, 3.0):
        below, above = three(edge - 1e-6), three(edge + 1e-6)
        np.testing.assert_allclose(below, above, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(three(1.5 - 1e-9), 0.0)
    np.testing.assert_allclose(three(3.0), [8.0, 0.0, 0.0], atol=1e-12)
    assert float(three(2.0)[1]) > 1.0  # it holds the pair together


def test_forces_and_stress_are_finite_differences_of_the_energy(cohesive):
    s, h = sparser(), 1e-4
    found, bare = cohesive.predict(s), replace(cohesive, cohesion=None).predict(s)
    assert np.abs(found.forces - bare.forces).max() > 0.1
    assert np.abs(found.stress - bare.stress).max() > 1e-4
    for atom, x in ((0, 0), (1, 2), (3, 1)):
        step = np.zeros((4, 3))
        step[atom, x] = h
        ahead, behind = (cohesive.predict(moved(s, s.positions + sign * step)).energy for sign in (1, -1))
        assert found.forces[atom, x] == pytest.approx(-(ahead - behind) / (2 * h), abs=1e-6)
    for v in range(6):
        ahead, behind = (cohesive.predict(strained(s, voigt_strain(v, sign * h))).energy for sign in (1, -1))
        assert found.stress[v] == pytest.approx((ahead - behind) / (2 * h * s.volume), abs=1e-6)


def test_order_orientation_and_precision_do_not_matter(cohesive):
    s = sparser()
    found, q, order = cohesive.predict(s), rotation(2, improper=True), np.array([2, 0, 3, 1])
    turned = cohesive.predict(rotated(s, q))
    np.testing.assert_allclose(turned.energy, found.energy, rtol=1e-11)
    np.testing.assert_allclose(turned.forces, found.forces @ q.T, atol=1e-11)
    mixed = cohesive.predict(gp.Structure(s.positions[order], s.numbers[order], s.cell, s.pbc))
    np.testing.assert_allclose(mixed.forces, found.forces[order], atol=1e-11)
    np.testing.assert_allclose(cohesive.predict(s, dtype="float32").forces, found.forces, atol=1e-3)
    (many,) = cohesive.predict_many([s])
    np.testing.assert_allclose(many.forces, found.forces, atol=1e-11)
    assert many.energy == pytest.approx(found.energy, abs=1e-10)


def test_an_atom_alone_has_its_energy_and_so_have_atoms_far_from_each_other(cohesive):
    one = cohesive.predict(isolated())
    assert one.energy == pytest.approx(ALONE, abs=2e-4)  # its σ is 1e-4 eV
    far = cohesive.predict(gp.Structure(np.diag([0.0, 50.0, 90.0]), np.full(3, 14)))
    np.testing.assert_allclose(far.energies, one.energy, atol=1e-10)
    np.testing.assert_allclose(far.forces, 0.0, atol=1e-12)


def test_it_is_zero_on_bound_training_structures(cohesive):
    bare = replace(cohesive, cohesion=None)
    for frame in bound():
        a, b = cohesive.predict(frame), bare.predict(frame)
        for name in ("energy", "energies", "forces", "stress"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=0, atol=1e-12)


def test_the_process_learns_as_if_isolated_atoms_and_bound_ones_had_one_mean(cohesive):
    """Weights are those of a fit to the same labels less the cohesion, with that left to be learned: it is nothing."""
    frames = [*bound(), isolated()]
    shift = with_cohesion(fit_reference(frames), frames).cohesive_energies[14]
    assert shift == pytest.approx(-DEEP, abs=1.5)
    less = [eqx.tree_at(lambda f: f.labels.energy, f, f.labels.energy - 4 * shift) for f in frames[:-1]]
    chosen = settings("model.method=exact", "cohesion=false")
    other = gp.fit([*less, isolated()], farther(), gp.DotPower(2), settings=chosen)
    assert other.cohesion is None
    np.testing.assert_allclose(other.centres.values, cohesive.centres.values, rtol=1e-6, atol=1e-9)
    a, b = (p.predict(labelled(8)[7], uncertainty=True) for p in (cohesive, other))
    assert a.energy == pytest.approx(b.energy + 4 * shift, abs=1e-8)
    np.testing.assert_allclose(a.forces, b.forces, atol=1e-8)
    np.testing.assert_array_equal(a.forces_std, b.forces_std)


def test_what_is_taken_off_is_least_squares_of_minimum_norm():
    frames = [isolated(14, -3.0), isolated(8, -7.0)]
    cluster = np.array([[0.0, 0, 0], [1.6, 0, 0]])
    frames += [gp.Frame(gp.Structure(cluster, np.array([14, 8])), gp.Labels(e)) for e in (-15.0, -17.0)]
    found = with_cohesion(fit_reference(frames), frames)
    # 16 = 10 + 6, shared where nothing parts the species.
    assert found.cohesive_energies == pytest.approx({8: -3.0, 14: -3.0})
    np.testing.assert_allclose(found.values, [-7.0, -3.0])
    assert found.total(frames[2].structure) == pytest.approx(-16.0)
    assert found.total(frames[0].structure, isolated=True) == -3.0


def test_of_a_species_that_is_nowhere_bound_there_is_none():
    frames = [*bound(2), isolated(), isolated(32, -5.0)]
    _, made, _ = choose_cohesion(frames, fit_reference(frames), (14, 32), 4.5, True)
    assert float(made.cohesive[1]) == 0.0
    assert np.isfinite(np.asarray(made.enough)).all()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda frames: frames[:-1], "energies of isolated atoms are not known"),
        (lambda frames: [*frames, pair_at(3.5)], "no other within 1.4"),
        (lambda frames: [pair_at(3.1), frames[-1]], "well within the cutoff"),
        (
            lambda frames: [
                *frames[:-1],
                in_a_box(3.0),
            ],
            "called isolated has others within 4 Å",
        ),
    ],
)
def test_where_it_cannot_be_told_there_is_none(change, why):
    frames = change([*bound(2), isolated()])
    reference, made, choice = choose_cohesion(frames, fit_reference(frames), (14,), 4.0, True)
    assert choice.value is False
    assert why in choice.reason
    assert reference.cohesion is None
    assert made is None


def test_a_dimer_longer_than_a_bond_is_not_bound():
    at = 2 * covalent_radii()[14] * np.array([1.39, 1.41])
    for length, taken in zip(at, (True, False), strict=True):
        frames = [pair_at(length), isolated()]
        *_, choice = choose_cohesion(frames, fit_reference(frames), (14,), 5.0, True)
        assert choice.value is taken


def test_file_record_and_settings_tell_of_it(cohesive, tmp_path):
    path = tmp_path / "model.safetensors"
    cohesive.save(path)
    with safe_open(path, framework="np") as stored:
        assert json.loads(stored.metadata()["gpjaxpot"])["format"] == 6
    again = gp.Potential.load(path)
    for s in (sparser(), isolated(), labelled(7)[6]):
        a, b = again.predict(s), cohesive.predict(s)
        assert a.energy == b.energy
        np.testing.assert_array_equal(a.forces, b.forces)
    choice = next(c for c in cohesive.summary()["choices"] if c["key"] == "cohesion")
    assert choice["value"] is True
    assert f"Si {cohesive.reference.cohesive_energies[14]:.2f} eV" in choice["reason"]
    assert cohesive.summary()["settings"]["cohesion"] is True
    resolved = gp.Settings.model_validate(cohesive.record["settings"])
    same = gp.fit([*bound(), isolated()], farther(), gp.DotPower(2), settings=resolved)
    np.testing.assert_array_equal(same.centres.values, cohesive.centres.values)
