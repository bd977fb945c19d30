r"""What a model says of training structures when each is left out: errors with full covariances, to calibrate on.

The closed forms are those of `gpjaxpot.gp.left_out`, here with the off-diagonal parts that ellipsoids of forces need.
Hyperparameters and inducing environments were chosen with these structures among the data: their errors are slightly
smaller than those of new ones.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gpjaxpot.arrays import AnyArray
from gpjaxpot.covariance.features import made_environments, vector_rows
from gpjaxpot.gp.exact import ExactPosterior
from gpjaxpot.gp.left_out import own_directions
from gpjaxpot.gp.levels import normal_equations
from gpjaxpot.gp.noise import OBSERVABLES, Noise
from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.compared import Known, compare
from gpjaxpot.potential.exact_model import one_by_one
from gpjaxpot.potential.held_out import Before
from gpjaxpot.potential.levels import VARIANCE, logs
from gpjaxpot.potential.prediction import Prediction, noise_fields
from gpjaxpot.potential.sparse_fit import Assembled
from gpjaxpot.potential.spreads import Factors
from gpjaxpot.potential.training import Observations
from gpjaxpot.structures.labels import Frame, Labels
from gpjaxpot.structures.structure import Structure

LeftOutStructures = Callable[[Sequence[Frame], Noise, Factors], list[Known]]


def sparse_left_out_structures(
    assembled: Assembled,
    levels: dict[str, float],
    priors: Mapping[int, Before],
    errors: Mapping[int, Float[np.ndarray, "_"]] | None,
    frames: Sequence[Frame],
    noise: Noise,
    spread: Factors,
) -> list[Known]:
    """Structures that a sparse model was scored on, each predicted without itself.

    Args:
        assembled: the model's data.
        levels: that it was conditioned with.
        priors: of the structures.
        errors: of a refined mean, by the places of the structures that it was judged on, which are then all; None to
            take the sparse model's own.
        frames: all training structures.
        noise: of predictions.
        spread: factors on the process's own spreads.
    """
    present = {k: v for k, v in levels.items() if k == VARIANCE or k in assembled.parts}
    gram, projected, *_ = (np.asarray(x) for x in normal_equations(logs(present), assembled.parts))
    lower = np.linalg.cholesky(np.eye(len(gram)) + gram)
    half = scipy.linalg.solve_triangular(lower, projected, lower=True)
    variance, known = levels[VARIANCE], []
    directions = own_directions(assembled.whitening, list(assembled.own.values()))
    for (i, rows), own in zip(assembled.kept.items(), directions, strict=True):
        if (errors is not None and i not in errors) or not len(assembled.data[i]):
            continue
        o, before = assembled.data[i], priors[i]
        sigma = o.sigma_at(levels)
        features = rows @ assembled.whitening * np.sqrt(variance)
        reached = scipy.linalg.solve_triangular(lower, (features / sigma[:, None]).T, lower=True)
        inverse = np.linalg.inv(np.eye(len(o)) - reached.T @ reached)
        # Those of a structure without inducing environments of its own, as in `gp/left_out.py`.
        features = features - (features @ own.T) @ own
        weights = scipy.linalg.solve_triangular(lower, np.concatenate([features, own]).T, lower=True)
        seen = reached.T @ weights
        mean = weights.T @ half - seen.T @ (inverse @ (o.targets / sigma - half @ reached))
        mean, covariance = _given(mean, weights.T @ weights + seen.T @ inverse @ seen, len(o))
        error = errors[i] if errors is not None else o.targets - mean
        spare = np.maximum(variance * before.variances - np.sum(features**2, axis=1), 0.0)
        covariance[np.diag_indices(len(o))] += spare
        forces = _force_blocks(o, covariance)
        if forces is not None:
            # Beside the diagonal, too: what the inducing environments do not reach of each atom's force.
            reach = features[_forces(o)].reshape(-1, 3, features.shape[1])
            beside = variance * before.forces - reach @ np.swapaxes(reach, 1, 2)
            forces = forces + np.where(np.eye(3, dtype=bool), 0.0, beside)
        known.append(_known(frames[i], o, error, np.diagonal(covariance), forces, noise, spread, before.vectors))
    return known


def exact_left_out_structures(
    kernel: EnergyKernel,
    structures: Sequence[Structure],
    posterior: ExactPosterior,
    data: Sequence[Observations],
    levels: dict[str, float],
    frames: Sequence[Frame],
    noise: Noise,
    spread: Factors,
) -> list[Known]:
    """Structures that an exact model was fitted to, each predicted without itself; isolated atoms are none."""
    sigma = np.concatenate([o.sigma_at(levels) for o in data])
    # From the factor that the posterior was conditioned with, jitter and all.
    lower = np.asarray(posterior.cholesky.lower)
    inverse = scipy.linalg.cho_solve((lower, True), np.eye(len(lower)), overwrite_b=True)
    solved = np.asarray(posterior.coefficients)
    edges = np.concatenate([[0], np.cumsum([len(o) for o in data])])
    known = []
    for i, batch in enumerate(one_by_one(kernel, tuple(structures))):
        o, here = data[i], slice(edges[i], edges[i + 1])
        if frames[i].isolated or not len(o):
            continue
        vectors = vector_rows(made_environments(kernel, batch).features, len(structures[i]))
        block = np.linalg.inv(inverse[here, here])
        left, error = block - np.diag(sigma[here] ** 2), block @ solved[here]
        known.append(_known(frames[i], o, error, np.diagonal(left), _force_blocks(o, left), noise, spread, vectors))
    return known


def _given(
    mean: Float[np.ndarray, " all"], covariance: Float[np.ndarray, "all all"], count: int
) -> tuple[Float[np.ndarray, " count"], Float[np.ndarray, "count count"]]:
    """Mean and covariance of the first `count` variables where all others are zero."""
    first, both, others = covariance[:count, :count], covariance[count:, :count], covariance[count:, count:]
    known = np.linalg.solve(others, both)
    return mean[:count] - known.T @ mean[count:], first - both.T @ known


def _forces(o: Observations) -> np.ndarray:
    """Which observations are forces."""
    return np.flatnonzero(o.kind == OBSERVABLES.index("forces"))


def _force_blocks(o: Observations, covariance: np.ndarray) -> Float[np.ndarray, "atoms 3 3"] | None:
    """Covariance of the force on each atom; None where none was observed."""
    own = _forces(o)
    if not len(own):
        return None
    atoms = own.reshape(-1, 3)
    return covariance[atoms[:, :, None], atoms[:, None, :]]


def _known(
    frame: Frame,
    o: Observations,
    error: Float[np.ndarray, "_"],
    variance: Float[np.ndarray, "_"],
    forces: Float[np.ndarray, "atoms 3 3"] | None,
    noise: Noise,
    spread: Factors,
    vectors: Float[AnyArray, "atoms size"],
) -> Known:
    """Put errors and variances as the prediction that would have them, and compare it with the labels."""
    n, labels = len(frame.structure), frame.labels
    std = np.sqrt(np.maximum(variance, 0.0)) * np.array(spread)[o.kind]
    of = {name: o.kind == k for k, name in enumerate(OBSERVABLES)}
    fields: dict = {"energy": 0.0, "energies": np.zeros(n), "forces": np.zeros((n, 3))}
    if of["energy"].any():
        own = of["energy"]
        fields |= {"energy": labels.energy - float(error[own][0]), "energy_epistemic_std": float(std[own][0])}
    if forces is not None:
        fields |= {
            "forces": labels.forces - error[of["forces"]].reshape(n, 3),
            "forces_epistemic_std": std[of["forces"]].reshape(n, 3),
            "forces_covariance": spread[1] ** 2 * forces,
        }
    if of["stress"].any():
        fields |= {"stress": labels.stress - error[of["stress"]], "stress_epistemic_std": std[of["stress"]]}
    fields |= noise_fields(noise, n, bool(of["stress"].any()))
    observed = Labels(**{name: getattr(labels, name) for name in OBSERVABLES if of[name].any()})
    kept = Frame(frame.structure, observed, frame.group, frame.source)
    return Known(compare(kept, Prediction(**fields)), np.asarray(frame.structure.numbers), np.asarray(vectors))
