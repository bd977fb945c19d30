"""Means of many structures at once, dealt over the devices of a mesh.

Structures are padded into batches of few shapes; each device takes its share of them, with a copy of the model.  The
program of a batch is the same on any number of devices, and so are the numbers.  Over several processes
(`jax.distributed`) each makes the batches of its own devices, and all get all results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import groupby
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float

from gpjaxpot.kernels.energy_kernel import EnergyKernel
from gpjaxpot.potential.batching import batches, collated
from gpjaxpot.potential.centres import Centres
from gpjaxpot.potential.collapsed import Collapsed
from gpjaxpot.potential.predictor import Evaluated, Fixed, evaluate
from gpjaxpot.structures.batch import Batch, Neighbourhood

# Batches of one device in one call: enough that calls cost little, few enough to stay small in memory.
ROUND = 16
WHOLE = PartitionSpec()


@dataclass(frozen=True)
class Mean:
    """Mean of one structure: per-atom energies without those per species (eV), forces (eV/Å), ∂E/∂ε (eV, Voigt)."""

    energies: Float[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]
    virial: Float[np.ndarray, " 6"]


def evaluate_many(
    kernel: EnergyKernel,
    mean: Centres | Collapsed,
    fixed: Fixed,
    found: Sequence[Neighbourhood],
    mesh: Mesh,
) -> list[Mean]:
    """Means of all structures, in their order.

    Every process of a mesh must call this with the same structures.
    """
    model = _placed((kernel, mean, fixed), mesh)
    groups = sorted(batches(found, len(kernel.species)), key=lambda group: group[1:])
    means: dict[int, Mean] = {}
    for _, alike in groupby(groups, key=lambda group: group[1:]):
        listed = list(alike)
        each = min(ROUND, -(-len(listed) // mesh.size)) * mesh.size
        for start in range(0, len(listed), each):
            part = listed[start : start + each]
            results = jax.tree.map(np.asarray, _evaluate(mesh, model, _dealt(kernel, found, part, each, mesh)))
            for k, (members, _, _) in enumerate(part):
                means |= zip(members, _apart(results, k, [len(found[i].structure) for i in members]), strict=True)
    return [means[i] for i in range(len(found))]


@partial(jax.jit, static_argnums=0)
def _evaluate(
    mesh: Mesh, model: tuple[EnergyKernel, Centres | Collapsed, Fixed], stacked: Batch
) -> Evaluated:
    """Means of stacked batches, each made where it lies, and then known everywhere."""

    def share(model: tuple[Any, Any, Any], own: Batch) -> Evaluated:
        kernel, mean, fixed = model
        made = jax.lax.map(lambda batch: evaluate(kernel, mean, batch, fixed), own)
        return jax.tree.map(lambda x: jax.lax.all_gather(x, mesh.axis_names, tiled=True), made)

    specs = (WHOLE, PartitionSpec(mesh.axis_names))
    everywhere: Any = jax.shard_map(share, mesh=mesh, in_specs=specs, out_specs=WHOLE, check_vma=False)
    return everywhere(model, stacked)


def _dealt(
    kernel: EnergyKernel, found: Sequence[Neighbourhood], part: Sequence[Any], count: int, mesh: Mesh
) -> Batch:
    """The batches of `part`, one after the other along a new first axis of `count` that is dealt over the mesh."""
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))

    @cache
    def batch(place: int) -> Batch:
        """The batch at a place of the new axis."""
        # What is left over takes the last batch once more.
        members, slots, places = part[min(place, len(part) - 1)]
        made = collated([found[i] for i in members], len(kernel.species), slots, places)
        return jax.tree.map(np.asarray, made)

    leaves, tree = jax.tree.flatten(batch(0))

    def dealt(j: int) -> jax.Array:
        """The array of one leaf, each device's part made where it belongs."""
        def own(index: Any) -> np.ndarray:
            return np.stack([jax.tree.leaves(batch(k))[j] for k in range(*index[0].indices(count))])

        return jax.make_array_from_callback((count, *leaves[j].shape), sharding, own)

    return jax.tree.unflatten(tree, [dealt(j) for j in range(len(leaves))])


def _placed(tree: Any, mesh: Mesh) -> Any:
    """Copies of all arrays on every device."""
    whole = NamedSharding(mesh, WHOLE)

    def place(leaf: Any) -> jax.Array:
        value = np.asarray(leaf)
        return jax.make_array_from_callback(value.shape, whole, lambda index: value[index])

    return jax.tree.map(place, tree)


def _apart(results: Evaluated, place: int, sizes: Sequence[int]) -> list[Mean]:
    """The structures of one batch, in their order."""
    ends = np.cumsum(sizes)
    return [
        Mean(
            np.asarray(results.energies[place, end - n : end], np.float64),
            np.asarray(results.forces[place, :, end - n : end], np.float64).T.copy(),
            np.asarray(results.virial[place, :, k], np.float64),
        )
        for k, (n, end) in enumerate(zip(sizes, ends, strict=True))
    ]
