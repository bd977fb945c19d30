"""Repulsion of near nuclei: the published energy, its derivatives, and nothing where there are data."""

import json
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from scipy import constants

import gpjaxpot as gp
from gpjaxpot.potential.predictor import single
from gpjaxpot.potential.repulsion import Repulsion, screened_coulomb
from gpjaxpot.potential.repulsion_radii import choose_repulsion
from gpjaxpot.structures.distances import covalent_radii, least_distances
from tests.potential.conftest import labelled, settings, soap
from tests.systems import CELL, WATER, batch_of, moved, rotated, rotation, strained, voigt_strain

COULOMB = constants.e / (4e-10 * np.pi * constants.epsilon_0)  # eV Å


def written_out(numbers, positions, outer, inner, cell=None, pbc=(False,) * 3):
    """Energy of each atom, in plain loops over pairs and images; `outer` by pairs of numbers."""
    energies = np.zeros(len(numbers))
    shifts = [np.zeros(3)]
    if cell is not None:
        steps = [range(-4, 5) if p else (0,) for p in pbc]
        shifts = [np.array([i, j, k]) @ cell for i in steps[0] for j in steps[1] for k in steps[2]]
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            for shift in shifts:
                r = np.linalg.norm(positions[j] + shift - positions[i])
                end = outer[min(a, b), max(a, b)]
                if r == 0 or r >= end:
                    continue
                x = r * (a**0.23 + b**0.23) / (0.8854e10 * constants.value("Bohr radius"))
                phi = 0.18175 * np.exp(-3.1998 * x) + 0.50986 * np.exp(-0.94229 * x)
                phi += 0.28022 * np.exp(-0.4029 * x) + 0.02817 * np.exp(-0.20162 * x)
                u = max(0.0, (r - inner * end) / (end - inner * end))
                switch = 1.0 - 10.0 * u**3 + 15.0 * u**4 - 6.0 * u**5
                energies[i] += 0.5 * COULOMB * a * b / r * phi * switch
    return energies


def near(sparse, outer=2.6):
    """The potential with a repulsion that reaches into the structures of these tests."""
    return eqx.tree_at(lambda p: p.repulsion.outer, sparse, jnp.array([[outer]]))


def crowded(seed=0, periodic=True):
    """Four atoms, two of which are 0.8 Å apart; one vector of the cell is shorter than the outer radius."""
    rng = np.random.default_rng(seed)
    cell = CELL.copy()
    cell[0] *= 2.3 / np.linalg.norm(cell[0])
    positions = np.array([[0.1, 0.1, 0.1], [0.1, 0.3, 0.1], [0.5, 0.1, 0.6], [0.05, 0.55, 0.55]]) @ CELL
    positions[1] = positions[0] + 0.8 * np.array([0.6, 0.0, 0.8])
    positions += rng.normal(scale=0.02, size=(4, 3))
    return gp.Structure(positions, np.full(4, 14), cell if periodic else None, periodic)


@pytest.mark.parametrize(
    ("z", "r", "screening", "energy"),
    # a = 0.8854 · 0.529177 Å / (2 · 14^0.23) = 0.127674 Å; then φ(r/a) from the published coefficients.
    [(14, 1.0, 0.01806461, 50.98429), (14, 0.5, 0.08336249, 470.55299)],
)
def test_silicon_by_the_published_coefficients(z, r, screening, energy):
    found = float(screened_coulomb(jnp.array(r), jnp.array(float(z)), jnp.array(float(z))))
    assert found == pytest.approx(energy, rel=1e-7)
    assert found / (COULOMB * z**2 / r) == pytest.approx(screening, rel=1e-6)


def test_nuclei_on_each_other_are_bare():
    # The coefficients add up to 1: without electrons between them, charges repel as Coulomb says.
    r = jnp.array(1e-6)
    assert float(screened_coulomb(r, jnp.array(14.0), jnp.array(8.0)) * r) == pytest.approx(COULOMB * 112, rel=1e-4)


def test_energies_of_two_species_are_the_sums_over_pairs_and_images():
    rng = np.random.default_rng(1)
    cell = np.array([[2.4, 0.0, 0.0], [0.3, 3.0, 0.0], [0.2, -0.4, 2.8]])
    numbers, positions = np.array([1, 8, 8, 1, 1]), rng.uniform(size=(5, 3)) @ cell
    s = gp.Structure(positions, numbers, cell, (True, True, False))
    outer = {(1, 1): 1.3, (1, 8): 2.0, (8, 8): 2.5}
    table = jnp.array([[1.3, 2.0], [2.0, 2.5]])
    repulsion = Repulsion(table, jnp.array(0.6), jnp.array([1.0, 8.0]))
    batch = batch_of(s, WATER, 2.6, atoms=8)
    energies = np.asarray(repulsion.energies(batch.displacements(), batch))
    expected = written_out(numbers, positions, outer, 0.6, cell, s.pbc)
    assert np.count_nonzero(expected) == 5
    np.testing.assert_allclose(energies[:5], expected, rtol=1e-8)  # digits of the constants
    np.testing.assert_array_equal(energies[5:], 0.0)
    repulsion, batch = single((repulsion, batch))
    rounded = repulsion.energies(batch.displacements(), batch)
    assert rounded.dtype == jnp.float32
    np.testing.assert_allclose(rounded[:5], expected, rtol=1e-4)


def test_the_switch_is_smooth_to_the_second_derivative():
    repulsion = Repulsion(jnp.array([[2.0]]), jnp.array(0.7), jnp.array([14.0]))
    pair = gp.Structure(np.array([[0.0, 0.0, 0.0], [1.5, 0.0, 0.0]]), np.array([14, 14]))
    batch = batch_of(pair, (14,), 3.0, atoms=4)

    @jax.jit
    def three(d):
        def energy(d):
            at = jnp.zeros((4, 3)).at[1, 0].set(d)
            return jnp.sum(repulsion.energies(replace(batch, positions=at).displacements(), batch))

        return jnp.stack([energy(d), jax.grad(energy)(d), jax.grad(jax.grad(energy))(d)])

    for edge in (1.4, 2.0):
        below, above = three(edge - 1e-6), three(edge + 1e-6)
        # Third derivatives are below 5·10³ eV/Å³ here; a switch that is not C² jumps by 10² eV/Å².
        np.testing.assert_allclose(below, above, rtol=0, atol=2e-6 * 5e3)
    assert np.all(np.asarray(three(2.0 + 1e-9)) == 0.0)
    assert float(three(1.9)[0]) > 0.0


@pytest.mark.parametrize("periodic", [True, False])
def test_forces_and_stress_are_finite_differences_of_the_energy(sparse, periodic):
    potential, s, h = near(sparse), crowded(periodic=periodic), 1e-4
    found, bare = potential.predict(s), replace(sparse, repulsion=None).predict(s)
    assert np.abs(found.forces - bare.forces).max() > 1.0
    for atom, x in ((0, 0), (1, 2), (2, 1)):
        step = np.zeros((4, 3))
        step[atom, x] = h
        ahead, behind = (potential.predict(moved(s, s.positions + sign * step)).energy for sign in (1, -1))
        # Third derivatives of some 10³ eV/Å³ times h²/6.
        assert found.forces[atom, x] == pytest.approx(-(ahead - behind) / (2 * h), abs=2e-5)
    if not periodic:
        assert found.stress is None
        return
    for v in range(6):
        ahead, behind = (potential.predict(strained(s, voigt_strain(v, sign * h))).energy for sign in (1, -1))
        assert found.stress[v] == pytest.approx((ahead - behind) / (2 * h * s.volume), abs=2e-5)


def test_what_is_added_is_the_plain_sum_whatever_else_is_predicted(sparse):
    s = crowded()
    found, bare = near(sparse).predict(s), replace(sparse, repulsion=None).predict(s)
    extra = written_out(s.numbers, s.positions, {(14, 14): 2.6}, 0.7, s.cell, s.pbc)
    np.testing.assert_allclose(found.energies - bare.energies, extra, rtol=1e-8)
    forces = near(sparse).predict(s, dtype="float32").forces
    np.testing.assert_allclose(forces, found.forces, atol=1e-3 * np.abs(found.forces).max())


def test_order_and_orientation_do_not_matter(sparse):
    potential, s = near(sparse), crowded()
    found, q, order = potential.predict(s), rotation(2, improper=True), np.array([2, 0, 3, 1])
    turned = potential.predict(rotated(s, q))
    # The sum over neighbours is taken in another order.
    scale = np.abs(found.forces).max()
    np.testing.assert_allclose(turned.energy, found.energy, rtol=1e-11)
    np.testing.assert_allclose(turned.forces, found.forces @ q.T, atol=1e-11 * scale)
    mixed = potential.predict(gp.Structure(s.positions[order], s.numbers[order], s.cell, s.pbc))
    np.testing.assert_allclose(mixed.forces, found.forces[order], atol=1e-11 * scale)


def test_atoms_on_one_spot_have_a_finite_energy(sparse):
    s = crowded()
    at = np.array(s.positions)
    at[1] = at[0]
    found = sparse.predict(moved(s, at))
    assert found.energy > 1e5
    assert np.isfinite(found.forces).all()


@pytest.mark.parametrize("which", ["exact", "sparse"])
def test_it_is_zero_on_training_data(which, request, frames):
    potential = request.getfixturevalue(which)
    bare = replace(potential, repulsion=None)
    for frame in frames[: 6 if which == "sparse" else 1]:
        a, b = potential.predict(frame), bare.predict(frame)
        for name in ("energy", "energies", "forces", "stress"):
            # Nothing is added; the two programs may round the rest differently.
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=0, atol=1e-12)


def test_it_adds_no_spread(sparse, frames):
    a, b = (p.predict(frames[7], uncertainty=True) for p in (near(sparse, 3.3), replace(sparse, repulsion=None)))
    assert np.abs(a.forces - b.forces).max() > 1e-3
    np.testing.assert_array_equal(a.forces_std, b.forces_std)


def test_a_fit_is_the_same_with_it_and_without(frames, sparse):
    chosen = settings(
        "model.method=sparse", "model.n_inducing=24", "model.selection=farthest", "repulsion.type=none"
    )
    without = gp.fit(frames[:6], soap(), gp.DotPower(2), settings=chosen)
    assert without.repulsion is None
    assert sparse.repulsion is not None
    np.testing.assert_array_equal(without.centres.values, sparse.centres.values)
    assert "repulsion.outer" not in {c["key"] for c in without.summary()["choices"]}


def test_a_sample_and_a_file_carry_it(sparse, tmp_path):
    crowd = crowded()
    sample = sparse.sample(jax.random.key(0))
    gained = sample.predict(crowd).energy - replace(sample, repulsion=None).predict(crowd).energy
    assert gained > 10.0
    formats = []
    for k, potential in enumerate((sparse, replace(sparse, repulsion=None))):
        path = tmp_path / f"{k}.safetensors"
        potential.save(path)
        with safe_open(path, framework="np") as stored:
            formats.append(json.loads(stored.metadata()["gpjaxpot"])["format"])
        again = gp.Potential.load(path)
        assert (again.repulsion is None) == (potential.repulsion is None)
        np.testing.assert_array_equal(again.predict(crowd).forces, potential.predict(crowd).forces)
    assert formats == [5, 4]  # the last for its calibration


def test_silicon_atoms_shot_at_each_other_bounce(sparse):
    from ase import Atoms, units
    from ase.md.verlet import VelocityVerlet

    def shot(potential):
        atoms = Atoms("Si2", [[0.0, 0.0, 0.0], [2.4, 0.0, 0.0]], calculator=gp.Calculator(potential))
        speed = np.sqrt(2 * 20.0 / atoms.get_masses()[0])  # 20 eV each
        atoms.set_velocities([[speed, 0.0, 0.0], [-speed, 0.0, 0.0]])
        start, distances = atoms.get_total_energy(), []
        dynamics = VelocityVerlet(atoms, 0.1 * units.fs)
        dynamics.attach(lambda: distances.append(atoms.positions[1, 0] - atoms.positions[0, 0]))
        dynamics.run(250)
        return atoms, np.array(distances), atoms.get_total_energy() - start

    atoms, distances, drift = shot(sparse)
    assert 0.5 < distances.min() < 1.5
    assert distances[-1] > 2.4
    assert atoms.get_velocities()[1, 0] > 0
    assert abs(drift) < 0.02
    _, passed, _ = shot(replace(sparse, repulsion=None))
    assert passed.min() < 0  # through each other


def test_radii_are_below_what_the_data_have(frames, sparse):
    least = least_distances([f.structure for f in frames[:6]], (14,), 5.0)[0, 0]
    brute = min(np.min(_images(f.structure)) for f in frames[:6])
    assert least == pytest.approx(brute)
    most = 0.75 * 2 * covalent_radii()[14]
    (value,) = (c["value"] for c in sparse.summary()["choices"] if c["key"] == "repulsion.outer")
    assert value == {"Si-Si": pytest.approx(min(0.9 * least, most))}
    assert float(sparse.repulsion.outer[0, 0]) == value["Si-Si"]
    assert sparse.summary()["settings"]["repulsion"]["outer"] == value


def _images(s):
    shifts = [np.array([i, j, k]) @ s.cell for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
    d = np.linalg.norm(s.positions[None, :, None] + np.array(shifts) - s.positions[:, None, None], axis=-1)
    return d[d > 0]


def test_short_distances_in_the_data_make_it_act_nearer_still(sparse):
    dimer = gp.Frame(gp.Structure(np.array([[0.0, 0.0, 0.0], [0.9, 0.0, 0.0]]), np.array([14, 14])), gp.Labels(1.0))
    made, _ = choose_repulsion([dimer], sparse.kernel, settings().repulsion)
    assert float(made.outer[0, 0]) == pytest.approx(0.81)


def test_pairs_that_never_meet_stay_below_bonds():
    frames = labelled(2, species=(14,)) + labelled(2, species=(8,), seed=1)
    kernel = gp.EnergyKernel((gp.Term(soap(species=(8, 14)), gp.DotPower(2)),))
    made, (choice,) = choose_repulsion(frames, kernel, settings("repulsion.inner=0.5").repulsion)
    radii = covalent_radii()
    assert float(made.outer[0, 1]) == pytest.approx(0.75 * (radii[8] + radii[14]))
    assert float(made.outer[0, 1]) == float(made.outer[1, 0]) == choice.value["O-Si"]
    assert float(made.inner) == 0.5
    assert "O-Si" in choice.reason
    given, _ = choose_repulsion(frames, kernel, settings("repulsion.outer.Si-O=1.2").repulsion)
    assert float(given.outer[0, 1]) == float(given.outer[1, 0]) == 1.2
    assert float(given.outer[0, 0]) == float(made.outer[0, 0])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["repulsion.outer.Si-Si=2.9"], r"2.9 Å, but the data have such a pair at .* give less"),
        (["repulsion.outer.Si=1.0"], "pairs of elements"),
        (["repulsion.outer.Si-Xx=1.0"], "no chemical element"),
        (["repulsion.outer.Si-O=1.0", "repulsion.outer.O-Si=1.1"], "two radii"),
    ],
)
def test_wrong_radii_are_refused(frames, overrides, message):
    with pytest.raises(gp.InputError, match=message):
        gp.fit(frames, soap(), gp.DotPower(2), settings=settings("model.method=exact", *overrides))


def test_a_radius_beyond_what_the_model_sees_is_refused(sparse):
    far = gp.Frame(gp.Structure(np.array([[0.0, 0.0, 0.0], [5.0, 0.0, 0.0]]), np.array([14, 14])), gp.Labels(1.0))
    with pytest.raises(gp.InputError, match="farther than the model sees"):
        choose_repulsion([far], sparse.kernel, settings("repulsion.outer.Si-Si=4.0").repulsion)
