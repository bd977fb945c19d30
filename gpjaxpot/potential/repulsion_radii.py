"""Within which distances nuclei repel each other: nearer than the data have any, and than any bond is."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gpjaxpot.errors import InputError
from gpjaxpot.kernels import EnergyKernel
from gpjaxpot.potential.choices import Choice, training_species
from gpjaxpot.potential.repulsion import Repulsion
from gpjaxpot.potential.settings import RepulsionSettings
from gpjaxpot.structures.distances import covalent_radii, least_distances
from gpjaxpot.structures.elements import atomic_number, symbol
from gpjaxpot.structures.labels import Frame

# Outer radius over the least distance in the data.  In 14 sets of test structures, hotter ones among them, no bond was
# shorter than 0.94 of the shortest one trained on.
MARGIN = 0.9
# The largest outer radius over the sum of covalent radii: triple bonds are 0.77 of it or more.
SHORTEST_BOND = 0.75


def check_repulsion(frames: Sequence[Frame], settings: RepulsionSettings) -> None:
    """Refuse, before any work, radii that were asked for and reach into the data.

    Raises:
        InputError: for these, for a pair that is given twice, and for what is no pair of elements.
    """
    given = _given(settings.outer)
    if settings.type == "none" or not given:
        return
    species = training_species(frames)
    least = least_distances([f.structure for f in frames], species, max(given.values()) + 0.01)
    for (a, b), radius in given.items():
        if a not in species or b not in species:
            continue
        found = least[species.index(a), species.index(b)]
        if radius >= found:
            raise InputError(
                f"repulsion.outer.{_name(a, b)} is {radius:g} Å, but the data have such a pair at {found:.4g} Å: the "
                "repulsion acts only where there are no data; give less, or leave it out"
            )


def choose_repulsion(
    frames: Sequence[Frame], kernel: EnergyKernel, settings: RepulsionSettings
) -> tuple[Repulsion | None, list[Choice]]:
    """Radii as given; else a little less than the least distance in the data, and no more than the shortest bonds.

    Raises:
        InputError: for a given radius beyond the kernel's reach.
    """
    if settings.type == "none":
        return None, []
    species = kernel.species
    radii = covalent_radii()[list(species)]
    most = SHORTEST_BOND * (radii[:, None] + radii[None, :])
    most = np.minimum(most, kernel.reach)
    least = least_distances([f.structure for f in frames], species, float(most.max()) / MARGIN)
    outer = np.minimum(MARGIN * least, most)
    for (a, b), radius in _given(settings.outer).items():
        if radius > kernel.reach:
            raise InputError(
                f"repulsion.outer.{_name(a, b)} is {radius:g} Å, farther than the model sees ({kernel.reach:g} Å)"
            )
        if a in species and b in species:
            i, j = species.index(a), species.index(b)
            outer[i, j] = outer[j, i] = radius
    return _made(species, outer, settings.inner), [_choice(species, outer, MARGIN * least < most)]


def _made(species: Sequence[int], outer: Float[np.ndarray, "species species"], inner: float) -> Repulsion:
    return Repulsion(jnp.asarray(outer), jnp.asarray(inner, float), jnp.asarray(species, float))


def _choice(species: Sequence[int], outer: np.ndarray, by_data: np.ndarray) -> Choice:
    pairs = [(i, j) for i in range(len(species)) for j in range(i, len(species))]
    radii = {_name(species[i], species[j]): float(outer[i, j]) for i, j in pairs}
    reason = f"{MARGIN:g} of the least distance in the data; Å"
    far = [_name(species[i], species[j]) for i, j in pairs if not by_data[i, j]]
    if far:
        reason += f"; {', '.join(far)}, not as near as that: {SHORTEST_BOND:g} of the sum of covalent radii"
    return Choice("repulsion.outer", radii, reason)


def _given(outer: Mapping[str, float]) -> dict[tuple[int, int], float]:
    """Radii by atomic numbers, the smaller one first."""
    found: dict[tuple[int, int], float] = {}
    for name, radius in outer.items():
        parts = name.split("-")
        if len(parts) != 2:
            raise InputError(f"repulsion.outer wants pairs of elements, such as Si-O = 1.2, got {name!r}")
        a, b = sorted(atomic_number(part) for part in parts)
        if found.setdefault((a, b), radius) != radius:
            raise InputError(f"repulsion.outer has two radii of {_name(a, b)}: leave one out")
    return found


def _name(a: int, b: int) -> str:
    return f"{symbol(a)}-{symbol(b)}"
