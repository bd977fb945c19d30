"""The trained potential: predictions with their uncertainty, joint posteriors, samples."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PRNGKeyArray

from gpjaxpot.arrays import AnyArray
from gpjaxpot.errors import InputError
from gpjaxpot.gp.noise import Noise
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.calibration import Calibration, root_spread
from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.cohesion import Cohesion
from gpjaxpot.potential.collapsed import Collapsed, collapses
from gpjaxpot.potential.crew import all_devices
from gpjaxpot.potential.exact_model import ExactModel
from gpjaxpot.potential.joint import Joint, joint_posterior
from gpjaxpot.potential.plain_method import plain_method
from gpjaxpot.potential.prediction import Prediction, noise_fields
from gpjaxpot.potential.predictor import Fixed, Neighbours, single
from gpjaxpot.potential.repulsion import Repulsion
from gpjaxpot.potential.sharded import evaluate_many
from gpjaxpot.potential.sparse_model import SparseModel
from gpjaxpot.potential.spreads import OWN, Factors, spreads
from gpjaxpot.structures.batch import neighbourhood
from gpjaxpot.structures.labels import Frame
from gpjaxpot.structures.reference import EnergyReference
from gpjaxpot.structures.structure import Structure

DTYPES = ("float64", "float32")
# Key of the record, of a log marginal likelihood that was estimated; absent where it is known.
STANDARD_ERROR = "log_marginal_likelihood_standard_error"


class Potential(eqx.Module):
    """Energy of atoms as a Gaussian process, conditioned on a training set.

    The posterior is conditional on the energies per species (`reference`) and on the descriptors' and the kernel's
    settings: their own uncertainty is no part of the spreads.  That of signal variance and noise levels is, if
    the fit was told so (`[hyper]`).
    """

    kernel: EnergyKernel
    model: SparseModel | ExactModel
    centres: Centres
    reference: EnergyReference
    noise: Noise
    record: dict[str, Any] = eqx.field(static=True)
    """Plain JSON: settings, choices, counts, versions, fingerprint, calibration."""
    calibration: Calibration | None = None
    """What makes raw spreads hold; None if there were too few data, or it was not wanted."""
    repulsion: Repulsion | None = None
    """Of atoms nearer to each other than any in the data; part of the mean, and zero on all training structures."""
    cohesion: Cohesion | None = None
    """What atoms lose with their last neighbours of the energy that `reference` has for bound ones; part of the mean,
    and zero on all training structures but isolated atoms."""
    spread: Factors = eqx.field(static=True, default=OWN)
    """Of energies, forces, stresses: how many times as wide as the process's own their epistemic σ are, which
    structures left out show.  What `sample` draws and `draws` holds are functions, with the spread of the process."""

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers that the potential knows, ascending."""
        return self.kernel.species

    @property
    def cutoff(self) -> float:
        """Distance (Å) beyond which atoms do not see each other."""
        return self.kernel.reach

    @cached_property
    def mean(self) -> Centres | Collapsed:
        """What predictions are made from: `centres`, or the polynomial that they are where that is cheaper."""
        return Collapsed.make(self.kernel, self.centres) if collapses(self.kernel, self.centres) else self.centres

    @cached_property
    def fixed(self) -> Fixed:
        """What the mean has beside the Gaussian process's and the energies per species."""
        return tuple(term for term in (self.repulsion, self.cohesion) if term is not None)

    @plain_method
    def predict(
        self,
        structures: Any,
        *,
        uncertainty: bool = False,
        covariance: bool = False,
        dtype: str = "float64",
        neighbours: Neighbours | None = None,
    ) -> Any:
        """Predict one structure (`Structure`, `Frame` or `ase.Atoms`), or a list of them.

        Args:
            structures: what to predict; a list gives a list of `Prediction`.
            uncertainty: also the standard deviations of everything.
            covariance: also the 3 × 3 epistemic covariance of the force on each atom.
            dtype: "float64" or "float32"; spreads are always made in float64.
            neighbours: neighbour lists kept between calls, as in molecular dynamics.

        Raises:
            InputError: for species that the potential does not know, or a wrong dtype.
        """
        _check_dtype(dtype)
        finder = Neighbours(self.kernel) if neighbours is None else neighbours
        if isinstance(structures, (list, tuple)):
            return [
                self.predict(
                    s, uncertainty=uncertainty, covariance=covariance, dtype=dtype, neighbours=finder
                )
                for s in structures
            ]
        return self.predicted(as_structure(structures, finder), finder, uncertainty, covariance, dtype)[0]

    @plain_method
    def predicted(
        self, structure: Structure, finder: Neighbours, uncertainty: bool, covariance: bool, dtype: str = "float64"
    ) -> tuple[Prediction, Any]:
        """Predict one structure as `predict` does; with spreads, also the vectors of its environments, one a row."""
        energies, forces, virial = finder.mean(self.kernel, self.mean, self.fixed, structure, dtype)
        n = len(structure)
        species = finder.per_species(self.reference, structure)
        fields = _means(structure, species, energies[:n], forces[:, :n].T.copy(), virial[:, 0])
        vectors = None
        if uncertainty or covariance:
            found = spreads(self.kernel, self.model, finder.close(structure), structure, self.spread)
            noise = noise_fields(self.noise, n, structure.volume is not None)
            vectors = found.pop("vectors")
            if self.calibration is not None:
                level = noise["forces_aleatoric_std"]
                total = np.hypot(found["forces_epistemic_std"], 0.0 if level is None else level)
                factor, novelty = self.calibration.environments(vectors, structure.numbers, root_spread(total))
                fields |= {"calibration": self.calibration, "forces_factor": factor, "novelty": novelty}
            fields |= found if covariance else {k: v for k, v in found.items() if "covariance" not in k}
            fields |= noise
        return Prediction(**fields), vectors

    def predict_many(
        self, structures: Sequence[Any], *, mesh: Mesh | None = None, dtype: str = "float64"
    ) -> list[Prediction]:
        """Energies, forces and stresses of many structures, dealt over the devices of `mesh`; without uncertainties.

        Args:
            structures: what to predict.
            mesh: devices, of one process or of several of `jax.distributed`, each of which must call this with the
                same structures and gets all predictions; None for all that there are.
            dtype: "float64" or "float32".

        Raises:
            InputError: as `predict`.
        """
        _check_dtype(dtype)
        listed = [as_structure(s) for s in structures]
        if not listed:
            return []
        model = self.kernel, self.mean, self.fixed
        kernel, mean, fixed = single(model) if dtype == "float32" else model
        found = [neighbourhood(s, self.species, self.cutoff) for s in listed]
        made = evaluate_many(kernel, mean, fixed, found, all_devices() if mesh is None else mesh)
        return [
            Prediction(**_means(s, self.reference.energies(s), m.energies, m.forces, m.virial))
            for s, m in zip(listed, made, strict=True)
        ]

    def neighbours(self, skin: float = 0.0) -> Neighbours:
        """Return what keeps neighbour lists and shapes between calls of `predict`; `skin` in Å."""
        return Neighbours(self.kernel, skin)

    def joint(self, structures: Any) -> Joint:
        """Joint posterior of [E | forces | stress] of a structure, or of several, one after the other.

        The stress is part of it for structures that are periodic in all three directions.  Memory grows
        with the square of the number of components.
        """
        _need_float64()
        several = structures if isinstance(structures, (list, tuple)) else [structures]
        listed = [as_structure(s) for s in several]
        means = []
        for structure in listed:
            p = self.predict(structure)
            parts = [np.array([p.energy]), p.forces.reshape(-1)]
            means.append(np.concatenate(parts if p.stress is None else [*parts, p.stress]))
        covariance = joint_posterior(self.kernel, self.model, listed, self.spread)
        return Joint(np.concatenate(means), covariance)

    def sample(self, key: PRNGKeyArray | Array) -> "Potential":
        """Draw a potential from the posterior: a function with forces, for dynamics or phonons.

        Of a sparse posterior only; the part of the prior that the inducing environments do not reach is
        left at its mean, so that draws scatter less than `epistemic_std` far from all data.  With a posterior over
        hyperparameters, mean and covariance of the draws are those of all its members together.

        Raises:
            InputError: for an exact posterior, of which `joint(...).sample` draws values.
        """
        if not isinstance(self.model, SparseModel):
            raise InputError(
                "a potential is drawn from a sparse posterior only; of an exact one draw values by "
                "joint(structure).sample(key, n)"
            )
        return self._drawn(self.model, self.model.with_weights(self.model.posterior.draw(key)))

    @property
    def draws(self) -> "tuple[Potential, ...]":
        """Functions of the posterior that a refined mean is of, as potentials with forces: those drawn by the fit.

        As many as `model.draws` says, at the levels of the model; none of any other model.  Of kernels that are
        polynomials of p·q, such as `DotPower`, their mean and covariance are those of the exact posterior, near data
        and far from them, but for the residuals of the solutions; spreads and `sample` are of the sparse one.  Of
        other kernels they leave out what the inducing environments do not reach of the prior, and scatter less.
        Errors of labels are no part of them.
        """
        model = self.model
        if not isinstance(model, SparseModel) or model.draws is None or model.refined is None:
            return ()
        return tuple(self._drawn(model, model.draws.centres(model.refined, k)) for k in range(len(model.draws)))

    def _drawn(self, model: SparseModel, centres: Centres) -> "Potential":
        """The potential with another function for its mean, of which there are no draws."""
        return replace(self, model=replace(model, draws=None), centres=centres)

    def with_calibration(self, calibration: Calibration | None) -> "Potential":
        """The same potential with another calibration, or with raw spreads alone."""
        record = dict(self.record) | {"calibration": None if calibration is None else calibration.record}
        return replace(self, calibration=calibration, record=record)

    @property
    def log_marginal_likelihood(self) -> float:
        """Log evidence of the training labels under the posterior that predictions come from, at its levels.

        Of a refined mean it is that of the sparse posterior, unless the fit was told to estimate the exact one's
        (`model.evidence`): `summary()["log_marginal_likelihood_standard_error"]` is then its standard error.
        """
        if STANDARD_ERROR in self.record:
            return float(self.record["log_marginal_likelihood"])
        return float(self.model.posterior.log_marginal_likelihood)

    def summary(self) -> dict[str, Any]:
        """Say what the potential is: plain JSON."""
        if collapses(self.kernel, self.centres):
            components = max(t.descriptor.n_features for t in self.kernel.terms)
            how = f"polynomial of {components} components, the same for any number of environments"
        else:
            how = f"sum over {len(self.centres)} environments"
        return dict(self.record) | {"evaluated_as": how}

    def save(self, path: str | Path) -> None:
        """Write the model file: safetensors with a JSON header, no code."""
        from gpjaxpot.potential.model_file import save

        save(self, path)

    @staticmethod
    def load(path: str | Path) -> "Potential":
        """Read a model file."""
        from gpjaxpot.potential.model_file import load

        return load(path)


def as_structure(given: Any, finder: Neighbours | None = None) -> Structure:
    """Return the `Structure` in a `Structure`, a `Frame` or `ase.Atoms`, with less work where `finder` knows the atoms.

    Raises:
        InputError: for anything else.
    """
    if isinstance(given, Structure):
        return given
    if isinstance(given, Frame):
        return given.structure
    if hasattr(given, "positions") and hasattr(given, "pbc"):
        return Structure.from_ase(given) if finder is None else finder.structure(given)
    raise InputError(f"expected a Structure, a Frame or ase.Atoms, got {type(given).__name__}")


def _means(
    structure: Structure, species: AnyArray, energies: AnyArray, forces: AnyArray, virial: AnyArray
) -> dict[str, Any]:
    """Fields of a `Prediction` without uncertainties, from what the fast path gives and those per species."""
    energies = energies + species
    stress = None if structure.volume is None else virial / structure.volume
    return {"energy": float(np.sum(energies)), "energies": energies, "forces": forces, "stress": stress}


def _check_dtype(dtype: str) -> None:
    _need_float64()
    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")


def _need_float64() -> None:
    if not jax.config.read("jax_enable_x64"):
        raise InputError(
            "gpjaxpot needs float64: call jax.config.update('jax_enable_x64', True) first "
            "(the gpjaxpot command does); predict(..., dtype='float32') then computes in float32"
        )
