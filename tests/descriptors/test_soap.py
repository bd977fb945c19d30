"""Laws of the SOAP vector: what it does not depend on, and how smoothly it depends on the rest."""

import equinox as eqx
import jax
import numpy as np
import pytest

from gpjaxpot.descriptors.soap import SOAP
from gpjaxpot.errors import InputError
from gpjaxpot.structures.structure import Structure
from tests.systems import (
    SILICON,
    VOIGT,
    WATER,
    batch_of,
    features,
    moved,
    perturbed,
    quick_jit,
    rotated,
    rotation,
    small_soap,
    spectrum,
    structure,
    vectors,
)

SHAPE = {"slots": (16, 16), "atoms": 8}  # one compilation for all structures of two species
# Feature vectors have unit length: tolerances are absolute, some ten units of round-off for what
# only reorders or turns numbers.
ROUND_OFF = 1e-13


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "radially weighted"])
def soap(request):
    return small_soap(WATER, radial_scale=2.0 if request.param else None)


@pytest.fixture(scope="module")
def crystal():
    return structure(WATER, 5)


def test_unit_length(soap, crystal):
    lengths = np.linalg.norm(features(soap, crystal, **SHAPE), axis=1)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-14)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("improper", [False, True], ids=["rotation", "with inversion"])
def test_invariant_to_rotation_and_inversion(soap, periodic, improper):
    s = structure(WATER, 5, periodic)
    for seed in range(3):
        turned = rotated(s, rotation(seed, improper))
        expected = features(soap, s, **SHAPE)
        np.testing.assert_allclose(features(soap, turned, **SHAPE), expected, atol=ROUND_OFF)


def test_invariant_to_translation_and_wrapping(soap, crystal):
    expected = features(soap, crystal, **SHAPE)
    shifted = moved(crystal, crystal.positions + [0.7, -1.9, 12.3])
    np.testing.assert_allclose(features(soap, shifted, **SHAPE), expected, atol=ROUND_OFF)
    images = np.random.default_rng(0).integers(-3, 4, (5, 3))
    unwrapped = moved(crystal, crystal.positions + images @ crystal.cell)
    np.testing.assert_allclose(features(soap, unwrapped, **SHAPE), expected, atol=ROUND_OFF)


def test_permuting_atoms_permutes_vectors(soap, crystal):
    order = np.random.default_rng(0).permutation(5)
    mixed = moved(crystal, crystal.positions[order], numbers=crystal.numbers[order])
    expected = features(soap, crystal, **SHAPE)[order]
    np.testing.assert_allclose(features(soap, mixed, **SHAPE), expected, atol=ROUND_OFF)


def test_cell_choice_does_not_matter(soap, crystal):
    # Integer matrices of determinant ±1 give other cells of the same lattice.
    expected = features(soap, crystal, **SHAPE)
    for change in ([[1, 1, 0], [0, 1, 0], [0, -1, 1]], [[0, 1, 0], [1, 0, 0], [2, 0, 1]]):
        other = moved(crystal, cell=np.array(change) @ crystal.cell)
        np.testing.assert_allclose(features(soap, other, **SHAPE), expected, atol=ROUND_OFF)


def test_supercell_repeats_the_vectors(soap):
    s = structure(WATER, 4)
    double = Structure(
        np.concatenate([s.positions, s.positions + s.cell[1]]),
        np.tile(s.numbers, 2),
        s.cell * [[1], [2], [1]],
        True,
    )
    expected = np.tile(features(soap, s, **SHAPE), (2, 1))
    np.testing.assert_allclose(features(soap, double, **SHAPE), expected, atol=ROUND_OFF)


def test_species_matter(soap, crystal):
    other = moved(crystal, numbers=np.where(crystal.numbers == 1, 8, 1))
    assert np.abs(features(soap, other, **SHAPE) - features(soap, crystal, **SHAPE)).max() > 0.1


def test_dot_product_is_that_of_the_full_symmetric_spectra(crystal):
    soap = small_soap(WATER)
    batch = batch_of(crystal, WATER, soap.reach, **SHAPE)

    @quick_jit
    def parts(soap, b):
        coefficients = soap.coefficients(b.displacements(), b.mask, b.species, b.slots)
        return coefficients, soap.power_spectrum(coefficients)

    coefficients, packed = (jax.tree.map(np.asarray, part) for part in parts(soap, batch))
    full = np.concatenate([
        np.pi * np.sqrt(8 / (2 * l + 1)) * np.einsum("qma,pma->qpa", c, c).reshape(-1, 8)
        for l, c in enumerate(coefficients)
    ])  # fmt: skip
    np.testing.assert_allclose(packed.T @ packed, full.T @ full, rtol=1e-12)


def test_features_of_two_vectors_overlap_positively(crystal):
    # p·p' is a rotation average of squared overlaps, so it cannot be negative.
    p = features(small_soap(WATER), crystal, **SHAPE)
    assert (p @ p.T).min() >= 0.0


def test_a_neighbour_at_the_cutoff_is_no_neighbour(soap):
    def pair(distance):
        s = Structure([[0, 0, 0], [0, 0, distance], [1.3, 0.2, -0.4]], [8, 1, 1])
        return features(soap, s, **SHAPE)[:1]

    alone = features(soap, Structure([[0, 0, 0], [1.3, 0.2, -0.4]], [8, 1]), **SHAPE)[:1]
    # Beyond the cutoff nothing is left; h inside it the weight is 10 (h/w)³ = 4e-6 and less.
    np.testing.assert_array_equal(pair(3.5 + 1e-9), alone)
    assert np.abs(pair(3.5 - 1e-3) - alone).max() < 1e-7
    inside = [pair(3.5 - k * 1e-2) for k in range(4)]
    second = np.abs(inside[0] - 2 * inside[1] + inside[2]).max() / 1e-4
    further = np.abs(inside[1] - 2 * inside[2] + inside[3]).max() / 1e-4
    # The second derivative starts from zero at the cutoff: w'' grows as 60 (h/w)/w².
    assert second < further < 0.5


@quick_jit
def jacobians(soap, batch):
    """Derivatives [feature, centre, ...] by positions and by strain."""

    def value(positions, strain):
        places = (positions, strain)
        return vectors(soap, eqx.tree_at(lambda b: (b.positions, b.strain), batch, places))

    return jax.jacfwd(value, argnums=(0, 1))(batch.positions, batch.strain)


@pytest.mark.parametrize("species", [SILICON, WATER], ids=["one species", "two"])
def test_position_and_strain_derivatives_equal_finite_differences(species):
    soap = small_soap(species, radial_scale=2.0)
    s = structure(species, 4)
    batch = batch_of(s, species, soap.reach, slots=(16,) * len(species), atoms=8)
    by_position, by_strain = jacobians(soap, batch)
    by_position = np.asarray(by_position)[:, :4, :4].reshape(-1, 4, 12)
    by_strain = np.asarray(by_strain)[:, :4, 0]
    by_voigt = np.stack([by_strain[..., i, j] + by_strain[..., j, i] for i, j in VOIGT], -1) / 2
    copies, stencil = perturbed(s, 1e-5)
    vectors = features(soap, copies).reshape(len(copies), 4, -1)
    # The stencil gives forces and stress: minus the slope, and the slope over the volume.
    expected = np.einsum("oc,caf->fao", stencil[1:], vectors)
    actual = np.concatenate([-by_position, by_voigt / s.volume], -1)
    # Error of central differences: h² (third derivative)/6 + ε/h, 1e-9 and 1e-11.
    np.testing.assert_allclose(actual, expected, atol=1e-8)
    assert np.abs(expected[..., :12]).max() > 0.1


@pytest.mark.parametrize("name", ["cutoff", "sigma", "cutoff_width", "radial_scale"])
def test_derivatives_by_its_own_settings_equal_finite_differences(name, crystal):
    settings = {"cutoff": 3.5, "sigma": 0.5, "cutoff_width": 0.9, "radial_scale": 2.0}
    soap = small_soap(WATER, **settings)
    batch = batch_of(crystal, WATER, 3.6, **SHAPE)  # the list must hold those that enter
    actual = setting_slopes(soap, batch)
    h = 1e-6
    ahead, behind = (spectrum(small_soap(WATER, **settings | {name: settings[name] + x * h}), batch) for x in (1, -1))
    # ε/h for features of order one; the Löwdin matrices cost another digit or two.
    np.testing.assert_allclose(getattr(actual, name), (ahead - behind) / (2 * h), atol=1e-7)


@quick_jit
def setting_slopes(soap, batch):
    arrays, rest = eqx.partition(soap, eqx.is_array)
    slopes = jax.jacfwd(lambda a: vectors(eqx.combine(a, rest), batch))(arrays)
    return eqx.combine(slopes, rest)


def test_isolated_atom_has_a_vector_and_no_derivatives():
    soap = small_soap(WATER, radial_scale=2.0)
    lone = Structure([[0.0, 0.0, 0.0]], [8])
    batch = batch_of(lone, WATER, soap.reach, **SHAPE)
    assert np.linalg.norm(spectrum(soap, batch)[:, 0]) == pytest.approx(1.0, abs=1e-14)
    np.testing.assert_array_equal(jacobians(soap, batch)[0], 0.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cutoff": 1.0}, "cutoff must be more than"),
        ({"n_max": 0}, "n_max"),
        ({"l_max": -1}, "l_max"),
        ({"sigma": 0.0}, "sigma must be positive"),
        ({"sigma": float("nan")}, "sigma must be positive"),
        ({"cutoff_width": 9.0}, "cutoff_width"),
        ({"radial_scale": -1.0}, "radial_scale"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        SOAP(**wrong)


def test_with_species_keeps_everything_else():
    soap = SOAP(4.2, 5, 3, 0.35, species=(8, 1), cutoff_width=0.7, radial_scale=2.5)
    other = soap.with_species((14, 6))
    assert soap.species == WATER
    assert other.species == (6, 14)
    for name in ("cutoff", "sigma", "cutoff_width", "radial_scale", "n_max", "l_max"):
        assert getattr(other, name) == getattr(soap, name)
    assert soap.n_features == 10 * 11 // 2 * 4
