"""Whatever makes a prediction fast keeps the laws of symmetry, of derivatives and of variances.

Each law is asked of each model on each path.

python -m tests.potential.test_fast_paths FOLDER        what three devices make of the models in a folder
"""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gpjaxpot as gp
from gpjaxpot.covariance.features import environments
from gpjaxpot.potential import compression, predictor
from gpjaxpot.potential.collapsed import Collapsed
from gpjaxpot.potential.joint import joint_posterior
from gpjaxpot.potential.prediction import Prediction
from tests.potential.conftest import MIXED, labelled, mixed_soap, settings
from tests.systems import (
    VOIGT,
    batch_of,
    moved,
    observed,
    plain_block,
    quick_jit,
    rotated,
    rotation,
    strained,
    voigt_strain,
)

ROOT = Path(__file__).parents[2]
# Kernels, and settings beside vectors that are compressed. The mean of the first is collapsed, to a linear and a
# quadratic part.
MODELS = {
    "collapsed": (MIXED, "model.n_inducing=24"),
    "quartic": (gp.DotPower(4), "model.n_inducing=12"),
    "refined": (gp.DotPower(4), "model.n_inducing=12", "model.refine=true", "model.solver=factor"),
}
PATHS = ("float64", "chunks", "devices", "float32")
NAMES = ("energy", "energies", "forces", "stress")
SPREADS = tuple(f"{name}_epistemic_std" for name in NAMES)
NOISE = {"energy": 0.02, "forces": 0.1, "stress": 0.01}
TURN = rotation(4, improper=True)
ORDER = np.random.default_rng(1).permutation(12)
STEP = 1e-4
PUSHED = ((0, 0), (7, 1), (11, 2))  # atoms and directions; one of them in another chunk of eight


def crystal() -> gp.Structure:
    """Twelve atoms of two species in a skewed cell, no two of them alike."""
    one = labelled(1, species=(14, 32), seed=11)[0].structure
    positions = np.concatenate([one.positions + k * one.cell[0] for k in range(3)])
    positions += np.random.default_rng(5).normal(scale=0.05, size=positions.shape)
    return gp.Structure(positions, np.tile(one.numbers, 3), one.cell * np.array([[3.0], [1.0], [1.0]]), True)


def probes() -> dict[str, gp.Structure]:
    """The crystal, and the structures that the laws compare it with."""
    s = crystal()
    twice = np.concatenate([s.positions, s.positions + s.cell[1]])
    wrapped = (s.positions + [1.3, -7.0, 2.2]) @ np.linalg.inv(s.cell) % 1.0 @ s.cell
    # The largest first: what is compiled for it has places enough for all others.
    found = {"doubled": gp.Structure(twice, np.tile(s.numbers, 2), s.cell * np.array([[1.0], [2.0], [1.0]]), True)}
    found |= {"as it is": s, "turned": rotated(s, TURN), "wrapped": moved(s, wrapped)}
    found["ordered"] = gp.Structure(s.positions[ORDER], s.numbers[ORDER], s.cell, s.pbc)
    for sign in (1, -1):
        for atom, x in PUSHED:
            step = np.zeros_like(s.positions)
            step[atom, x] = sign * STEP
            found[f"atom {atom} {x} {sign}"] = moved(s, s.positions + step)
        for v in range(6):
            found[f"strain {v} {sign}"] = strained(s, voigt_strain(v, sign * STEP))
    return found


def in_chunks_of(size: int, patch: pytest.MonkeyPatch) -> set[int]:
    """Take so many atoms at a time from now on; how many are taken is noted whenever that is compiled."""
    seen, plain = set(), predictor._chunk

    def noted(kernel, mean, slots, r, *more):
        seen.add(r.shape[-1])
        return plain(kernel, mean, slots, r, *more)

    patch.setattr(predictor, "CHUNK", size)
    patch.setattr(predictor, "CARD_CHUNK", size)
    patch.setattr(predictor, "_chunk", noted)
    return seen


def forget() -> None:
    """Make the programs of predictions anew: how many atoms they take at a time is part of them."""
    for program in (predictor.evaluate_leaves, predictor.evaluate):
        program.clear_cache()  # type: ignore[attr-defined]


def main(folder: str) -> None:
    """On each device in chunks, too, the last of them filled up: of 64 places 3 × 24."""
    jax.config.update("jax_enable_x64", True)
    assert jax.device_count() == 3
    seen, shown, found = in_chunks_of(24, pytest.MonkeyPatch()), probes(), {}
    for model in MODELS:
        potential = gp.Potential.load(Path(folder) / f"{model}.safetensors")
        for probe, p in zip(shown, potential.predict_many(list(shown.values())), strict=True):
            found |= {f"{model} {probe} {name}": getattr(p, name) for name in NAMES}
    assert seen == {24}
    np.savez(Path(folder) / "found.npz", **found)


def fitted(frames, kernel, *more) -> gp.Potential:
    """A sparse potential of twelve structures."""
    levels = [f"noise.{name}={value}" for name, value in NOISE.items()]
    # The repulsion would be zero here, and takes a third of the time that predictions are compiled in.
    chosen = settings(*levels, "model.method=sparse", "repulsion.type=none", *more)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "SHORT", 10)  # vectors of these tests are shorter than is worth while
        return gp.fit(frames[:12], mixed_soap(), kernel, settings=chosen)


@pytest.fixture(scope="module")
def models(mixed_frames) -> dict[str, gp.Potential]:
    made = {name: fitted(mixed_frames, *how) for name, how in MODELS.items()}
    assert [isinstance(p.mean, Collapsed) for p in made.values()] == [True, False, False]
    assert made["refined"].record["settings"]["model"]["refine"] is True
    assert max(p.kernel.terms[0].descriptor.n_features for p in made.values()) < 10  # of 20
    return made


@pytest.fixture(scope="module")
def predictions(models, tmp_path_factory) -> dict[tuple[str, str], dict[str, Prediction]]:
    """Of all probes, by model and path; of the first five with spreads, where one structure is predicted at a time."""
    folder, shown, made = tmp_path_factory.mktemp("models"), probes(), {}
    for name, potential in models.items():
        potential.save(folder / f"{name}.safetensors")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
    command = [sys.executable, "-m", "tests.potential.test_fast_paths", str(folder)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    elsewhere = subprocess.Popen(command, cwd=ROOT, env=environment, **streams)

    def predict(path, dtype="float64"):
        for name, potential in models.items():
            kept, how = potential.neighbours(), []
            for k, s in enumerate(shown.values()):
                how.append(potential.predict(s, uncertainty=k < 5, covariance=k < 5, dtype=dtype, neighbours=kept))
            made[name, path] = dict(zip(shown, how, strict=True))

    predict("float64")
    predict("float32", "float32")
    forget()
    with pytest.MonkeyPatch.context() as patch:
        seen = in_chunks_of(8, patch)
        predict("chunks")
    forget()
    assert seen == {8}
    said = elsewhere.communicate(timeout=300)[0]
    assert elsewhere.returncode == 0, said
    with np.load(folder / "found.npz") as found:
        for name in models:
            made[name, "devices"] = {
                probe: Prediction(
                    float(found[f"{name} {probe} energy"]), *(found[f"{name} {probe} {n}"] for n in NAMES[1:])
                )
                for probe in shown
            }
    return made


@dataclass(frozen=True)
class Case:
    """What one path makes of one model's mean, beside float64 without any detour, and how near the law it must be."""

    found: dict[str, Prediction]
    plain: dict[str, Prediction]
    energy: float
    forces: float
    stress: float

    def __getitem__(self, probe: str) -> Prediction:
        return self.found[probe]

    def compare(self, probe: str, energy: float, *others: Any):
        """Hold the prediction of a probe against what the law says."""
        tolerances = self.energy, self.energy, self.forces, self.stress
        for name, wanted, tolerance in zip(NAMES, (energy, *others), tolerances, strict=True):
            found = getattr(self[probe], name)
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance, err_msg=name)


@pytest.fixture(params=[(model, path) for model in MODELS for path in PATHS], ids=" ".join)
def case(request, predictions) -> Case:
    model, path = request.param
    # Measured are 10⁻¹³ and less; 10⁻⁹ is what any number of devices may differ by.
    tolerances = 1e-9, 1e-9, 1e-10
    if path == "float32":
        # Each term of a sum errs by 6·10⁻⁸ of itself; coefficients of a collapsed mean are as large as energies are,
        # not as weights. Measured were, in eV, eV/Å and eV/Å³, collapsed 3·10⁻⁶, 2·10⁻⁷ and 1·10⁻⁹, of the quartic
        # kernel 3·10⁻³, 5·10⁻⁶ and 5·10⁻⁸, refined 2·10⁻⁴, 6·10⁻⁷ and 8·10⁻⁹.
        tolerances = {
            "collapsed": (2e-5, 2e-6, 2e-8), "quartic": (2e-2, 5e-5, 5e-7), "refined": (1e-3, 5e-6, 5e-8)
        }[model]
    return Case(predictions[model, path], predictions[model, "float64"], *tolerances)


def test_means_are_those_of_the_plain_path(case):
    for probe, p in case.plain.items():
        case.compare(probe, p.energy, p.energies, p.forces, p.stress)


def test_means_turn_with_the_structure(case):
    p = case["as it is"]
    case.compare("turned", p.energy, p.energies, p.forces @ TURN.T, turning() @ p.stress)


def turning() -> np.ndarray:
    """What a turn makes of a stress in Voigt order."""
    turned = [TURN @ voigt_strain(v, 1.0 + (v >= 3)) @ TURN.T for v in range(6)]
    return np.array([[t[i, j] for t in turned] for i, j in VOIGT])


def test_means_know_no_origin_and_no_edge_of_the_cell(case):
    p = case["as it is"]
    case.compare("wrapped", p.energy, p.energies, p.forces, p.stress)


def test_means_follow_the_order_of_the_atoms(case):
    p = case["as it is"]
    case.compare("ordered", p.energy, p.energies[ORDER], p.forces[ORDER], p.stress)


def test_means_of_a_supercell_repeat(case):
    p = case["as it is"]
    case.compare("doubled", 2 * p.energy, np.tile(p.energies, 2), np.tile(p.forces, (2, 1)), p.stress)


def test_forces_and_stress_are_slopes_of_the_energy(case):
    """Of the energy in float64: the last digit of one in float32 is more than it changes by."""

    def slope(of):
        return (case.plain[f"{of} 1"].energy - case.plain[f"{of} -1"].energy) / (2 * STEP)

    p, volume = case["as it is"], crystal().volume
    # An energy's error of 10⁻¹² eV is 10⁻⁸ eV/Å of a slope.
    for atom, x in PUSHED:
        assert p.forces[atom, x] == pytest.approx(-slope(f"atom {atom} {x}"), rel=0, abs=case.forces + 1e-6)
    slopes = np.array([slope(f"strain {v}") for v in range(6)])
    np.testing.assert_allclose(p.stress, slopes / volume, rtol=0, atol=case.stress + 1e-8)


@pytest.fixture(scope="module")
def spreads(predictions) -> dict[str, dict[str, Prediction]]:
    """By model."""
    return {name: predictions[name, "float64"] for name in MODELS}


@pytest.fixture(scope="module")
def covariances(models) -> dict[str, np.ndarray]:
    """Of energy, forces and stress of the crystal together, by model."""
    return {name: joint_posterior(p.kernel, p.model, [crystal()]) for name, p in models.items()}


@quick_jit
def rows(kernel, batch, inducing):
    """cov([E, F, σ], u) of one structure by AD, cov(f, u) of its environments, and their own variances."""

    def local(positions, strain):
        here = environments(kernel, replace(batch, positions=positions, strain=strain))
        return kernel.gram(here.features, inducing.features, here.species, inducing.species)

    def total(*at):
        return batch.atom_mask.astype(float) @ local(*at)

    at = batch.positions, batch.strain
    by_positions, by_strain = jax.jacrev(total, (0, 1))(*at)
    by_strain = by_strain.reshape(-1, 3, 3) / batch.volumes[0]
    stress = [0.5 * (by_strain[:, i, j] + by_strain[:, j, i]) for i, j in VOIGT]
    forces = -by_positions.reshape(len(inducing), -1)
    here = environments(kernel, batch)
    own = kernel.gram(here.features, here.features, here.species, here.species)
    return jnp.concatenate([total(*at)[None], forces.T, jnp.stack(stress)]), local(*at), jnp.diagonal(own)


def conditioned(potential, frames):
    """Targets and their σ, batches of the training structures and that of the crystal, all of one shape."""
    structures, of = [*(f.structure for f in frames), crystal()], (potential.species, potential.cutoff)
    slots = batch_of(structures, *of).slots
    *train, here = (batch_of(s, *of, slots=slots, atoms=12) for s in structures)
    energies = [f.labels.energy - potential.reference.total(f.structure) for f in frames]
    labels = [[e, *f.labels.forces.ravel(), *f.labels.stress] for e, f in zip(energies, frames, strict=True)]
    # Four atoms: the noise of their energy is twice that of one.
    sigma = np.repeat([2.0 * NOISE["energy"], NOISE["forces"], NOISE["stress"]], [1, 12, 6])
    return np.concatenate(labels), np.tile(sigma, len(frames)), train, here


def between(kernel, a, b) -> np.ndarray:
    """Prior covariances of what is observed of two structures, by nested AD."""
    places = [observed(int(np.sum(np.asarray(x.atom_mask))), x.n_atoms) for x in (a, b)]
    return np.asarray(plain_block(kernel, a, b))[np.ix_(*places)]


def deterministic_training_conditional(potential, frames):
    """Mean and covariance of [E, F, σ] of the crystal, and variances of its local energies, by the formula."""
    kernel, inducing = potential.kernel, potential.model.inducing
    targets, sigma, train, here = conditioned(potential, frames)
    gram = np.asarray(kernel.gram(inducing.features, inducing.features, inducing.species, inducing.species))
    values, directions = np.linalg.eigh(gram)
    kept = values > len(values) * 2.0**-52 * values[-1]
    white = directions[:, kept] / np.sqrt(values[kept])
    joint, local, own = rows(kernel, here, inducing)
    ours, local = np.asarray(joint) @ white, np.asarray(local) @ white
    known = np.concatenate([np.asarray(rows(kernel, b, inducing)[0])[observed(4, 12)] for b in train]) @ white
    known = known / sigma[:, None]
    left = np.linalg.inv(np.eye(known.shape[1]) + known.T @ known)
    prior = between(kernel, here, here)
    mean = ours @ (left @ (known.T @ (targets / sigma)))
    mean[0] += potential.reference.total(crystal())
    rest = left - np.eye(len(left))
    return mean, prior + ours @ rest @ ours.T, np.asarray(own) + np.sum((local @ rest) * local, axis=1)


def observables(p, ending="") -> np.ndarray:
    """[E, F, σ] of a prediction, or what it has of them under names with this ending."""
    return np.concatenate([np.ravel(getattr(p, name + ending)) for name in ("energy", "forces", "stress")])


@pytest.mark.parametrize("name", ["collapsed", "quartic"])
def test_means_and_variances_are_those_of_the_definition(models, predictions, spreads, covariances, mixed_frames, name):
    mean, covariance, local = deterministic_training_conditional(models[name], mixed_frames[:12])
    np.testing.assert_allclose(observables(predictions[name, "float64"]["as it is"]), mean, rtol=0, atol=1e-8)
    np.testing.assert_allclose(covariances[name], covariance, rtol=0, atol=1e-8 * np.abs(covariance).max())
    p, std = spreads[name]["as it is"], np.sqrt(np.diagonal(covariance))
    np.testing.assert_allclose(observables(p, "_epistemic_std"), std, rtol=1e-6)
    np.testing.assert_allclose(p.energies_epistemic_std, np.sqrt(local), rtol=1e-6)
    blocks = covariance[1:37, 1:37].reshape(12, 3, 12, 3)[np.arange(12), :, np.arange(12)]
    np.testing.assert_allclose(p.forces_covariance, blocks, rtol=0, atol=1e-8 * np.abs(blocks).max())


def test_a_refined_mean_is_that_of_the_exact_posterior_by_definition(models, predictions, mixed_frames):
    """On compressed vectors."""
    potential, frames = models["refined"], mixed_frames[:12]
    targets, sigma, train, here = conditioned(potential, frames)
    blocks = [[between(potential.kernel, a, b) for b in train] for a in train]
    ours = np.concatenate([between(potential.kernel, here, b) for b in train], axis=1)
    mean = ours @ np.linalg.solve(np.block(blocks) + np.diag(sigma**2), targets)
    mean[0] += potential.reference.total(crystal())
    np.testing.assert_allclose(observables(predictions["refined", "float64"]["as it is"]), mean, rtol=0, atol=1e-8)
    plain = observables(predictions["quartic", "float64"]["as it is"])
    assert np.abs(plain - mean).max() > 1e-5  # on a quarter of the environments it is another one


def same_spreads(found, wanted, order=None, energy=1.0):
    """Spreads, of atoms in this order, and that of the energy so many times as wide."""
    order = np.arange(12) if order is None else order
    whole, each, forces, stress = (getattr(wanted, name) for name in SPREADS)
    for name, expected in zip(SPREADS, (energy * whole, each[order], forces[order], stress), strict=True):
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-6, err_msg=name)
    size = np.abs(wanted.forces_covariance).max()
    np.testing.assert_allclose(found.forces_covariance, wanted.forces_covariance[order], rtol=0, atol=1e-8 * size)


@pytest.mark.parametrize("name", MODELS)
def test_spreads_turn_with_the_structure(spreads, covariances, name):
    p, q = spreads[name]["as it is"], spreads[name]["turned"]
    size = np.abs(p.forces_covariance).max()
    np.testing.assert_allclose(q.forces_covariance, TURN @ p.forces_covariance @ TURN.T, rtol=0, atol=1e-8 * size)
    np.testing.assert_allclose(q.forces_epistemic_std**2, np.diagonal(q.forces_covariance, axis1=1, axis2=2), rtol=1e-9)
    stress = turning() @ covariances[name][-6:, -6:] @ turning().T
    np.testing.assert_allclose(q.stress_epistemic_std, np.sqrt(np.diagonal(stress)), rtol=1e-6)
    np.testing.assert_allclose(q.energy_epistemic_std, p.energy_epistemic_std, rtol=1e-6)
    np.testing.assert_allclose(q.energies_epistemic_std, p.energies_epistemic_std, rtol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_spreads_know_no_origin_follow_the_order_and_repeat_in_a_supercell(spreads, name):
    p = spreads[name]["as it is"]
    same_spreads(spreads[name]["wrapped"], p)
    same_spreads(spreads[name]["ordered"], p, ORDER)
    # All cells err together.
    same_spreads(spreads[name]["doubled"], p, np.tile(np.arange(12), 2), energy=2.0)


@pytest.mark.parametrize("name", MODELS)
def test_no_combination_of_observables_has_a_negative_variance(covariances, name):
    values = np.linalg.eigvalsh(covariances[name])
    assert values[0] > -1e-12 * values[-1]


def test_spreads_of_a_refined_model_are_those_of_the_sparse_one(spreads):
    same_spreads(spreads["refined"]["as it is"], spreads["quartic"]["as it is"])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("path", ["chunks", "float32"])
def test_spreads_are_made_in_float64_beside_whatever_mean(predictions, spreads, name, path):
    for probe in list(probes())[:5]:
        for spread in SPREADS:
            found = getattr(predictions[name, path][probe], spread)
            np.testing.assert_array_equal(found, getattr(spreads[name][probe], spread))


def test_components_left_out_are_less_than_a_five_hundredth_of_the_spread(mixed_frames, spreads):
    """Of means and of the spreads themselves, beside a sum over environments of whole vectors.

    It is 4·10⁻⁴ with the eight components that are kept, and ten times as much with six or fewer.
    """
    whole = fitted(mixed_frames, *MODELS["collapsed"], "model.features=all")
    assert not isinstance(whole.mean, Collapsed)
    p, q = spreads["collapsed"]["as it is"], whole.predict(crystal(), uncertainty=True)
    for name, spread in zip(NAMES, SPREADS, strict=True):
        tolerance = 0.002 * np.max(getattr(q, spread))
        np.testing.assert_allclose(getattr(p, name), getattr(q, name), rtol=0, atol=tolerance, err_msg=name)
        np.testing.assert_allclose(getattr(p, spread), getattr(q, spread), rtol=0, atol=tolerance, err_msg=spread)


if __name__ == "__main__":
    main(*sys.argv[1:])
