r"""SOAP vectors with their derivatives by displacement, arranged by hand from AD of the parts.

The derivative of one spectrum entry by the displacement r of a neighbour of species s is

    $\partial p_{qq'}/\partial r = \sum_m [q \in s] (\partial b_{qm}) c_{q'm} + [q' \in s] (\partial b_{q'm}) c_{qm}$,
    $\partial b_{nm} = h_n' \hat r Y_m + h_n \partial Y_m$,

so the sum over m is taken first and the radial function multiplies what is left: a factor 2l+1 fewer
operations than differentiating the coefficients.  `jacobian` and `pullback` equal `jax.jacfwd` and
`jax.vjp` of the descriptor; the tests hold them to 1e-10.
"""

from math import pi, sqrt

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gpjaxpot.descriptors import contractions
from gpjaxpot.descriptors.harmonics import gradient_matrices, solid_harmonics
from gpjaxpot.descriptors.soap import SOAP, packing, spectrum_prefactor


class Expansion(eqx.Module):
    """Features of a batch and the parts that their derivatives are made of."""

    features: Float[Array, "features atoms"]
    spectrum: Float[Array, "spectrum atoms"]
    """What the features are projected from, of unit length."""
    centres: Int[Array, " atoms"]
    norm: Float[Array, " atoms"]
    coefficients: list[Float[Array, "channels _ atoms"]]
    displacements: Float[Array, "3 slots atoms"]
    distance: Float[Array, "slots atoms"]
    weight: Float[Array, "slots atoms"]
    weight_slope: Float[Array, "slots atoms"]
    gaussians: list[Float[Array, "n slots atoms"]]
    harmonics: list[Float[Array, "_ slots atoms"]]


def expand(
    soap: SOAP,
    displacements: Float[Array, "3 slots atoms"],
    mask: Bool[Array, "slots atoms"],
    centres: Int[Array, " atoms"],
    slots: tuple[int, ...],
    *,
    written_out: bool = False,
) -> Expansion:
    """Features as `soap(...)` gives them, keeping what the derivatives need again.

    `written_out` has the sums of `contractions.py`, which are for few atoms at a time: the arrays then stay in cache.
    """
    basis = soap.basis(displacements.dtype)
    r2 = jnp.sum(displacements**2, axis=0)
    apart = r2 > 0
    r = jnp.where(apart, jnp.sqrt(jnp.where(apart, r2, 1.0)), 0.0)
    weight, slope = jax.jvp(soap.weight, (r,), (jnp.ones_like(r),))
    weight, slope = weight * mask, slope * mask
    # The barriers keep the exponentials out of the reductions that use them: inside a reduction the
    # CPU compiler calls the scalar routine, many times slower than the vector one.  One for each l, so
    # that what is made is used while it is in cache.
    gaussians = [
        jax.lax.optimization_barrier(jnp.exp(-decay[:, None, None] * r2)) for decay in basis.decay
    ]
    harmonics = solid_harmonics(displacements / basis.length, soap.l_max)
    own = jax.nn.one_hot(centres, len(soap.species), dtype=r2.dtype).T
    coefficients = []
    for l in range(soap.l_max + 1):
        parts = []
        for s, here in enumerate(slot_slices(slots)):
            if written_out:
                primitive = contractions.over_neighbours(gaussians[l][:, here] * weight[here], harmonics[l][:, here])
            else:
                weighted = harmonics[l][:, here] * weight[here]
                primitive = jnp.einsum("nka,mka->nma", gaussians[l][:, here], weighted)
            if l == 0:
                primitive = primitive + own[s] / sqrt(4.0 * pi)
            parts.append(jnp.tensordot(basis.mixing[l], primitive, 1))
        coefficients.append(jnp.concatenate(parts))
    spectrum = soap.power_spectrum(coefficients, contractions.products if written_out else None)
    norm = jnp.ones_like(spectrum[0])
    if not soap.dscribe:
        norm = jnp.sqrt(jnp.sum(spectrum**2, axis=0))
        spectrum = spectrum / norm
    features = soap.project(spectrum, centres)
    return Expansion(
        features, spectrum, centres, norm, coefficients, displacements, r, weight, slope, gaussians, harmonics
    )


def pullback(
    soap: SOAP,
    parts: Expansion,
    cotangent: Float[Array, "features atoms"],
    slots: tuple[int, ...],
) -> Float[Array, "3 slots atoms"]:
    """Gradient by displacement of Σ cotangent · features: the reverse pass of `expand`, of few atoms at a time."""
    basis = soap.basis(parts.displacements.dtype)
    cotangent = _through_norm(soap, parts, soap.lift(cotangent, parts.centres))
    by_coefficient = by_coefficients(soap, cotangent, parts.coefficients)
    groups = []
    for s, here in enumerate(slot_slices(slots)):
        # By the weight, by r² in the exponents, and by x, y, z in the harmonics.
        along_r, along_r2, x, y, z = (jnp.zeros_like(parts.distance[here]) for _ in range(5))
        for l, by_all in enumerate(by_coefficient):
            own = by_all[s * soap.n_max : (s + 1) * soap.n_max]
            by_primitive = jnp.tensordot(basis.mixing[l], own, ((0,), (0,)))
            gaussians = parts.gaussians[l][:, here]
            product = contractions.over_orders(by_primitive, parts.harmonics[l][:, here], gaussians)
            along_r, along_r2 = contractions.along(product, basis.decay[l], along_r, along_r2)
            if l:
                columns = contractions.over_radial(by_primitive, gaussians)
                x, y, z = contractions.by_direction(columns, parts.harmonics[l - 1][:, here], x, y, z)
        groups.append((along_r, along_r2, x, y, z))
    along_r, along_r2, *direction = (jnp.concatenate(group) for group in zip(*groups, strict=True))
    radial = parts.weight_slope * along_r / jnp.where(parts.distance > 0, parts.distance, 1.0)
    along = (radial - 2.0 * parts.weight * along_r2) * parts.displacements
    return along + jnp.stack(direction) * parts.weight / basis.length


def by_coefficients(
    soap: SOAP, cotangent: Float[Array, "spectrum atoms"], coefficients: list[Float[Array, "channels _ atoms"]]
) -> list[Float[Array, "channels _ atoms"]]:
    """Gradient by each coefficient of Σ cotangent · spectrum, the spectrum not divided by its length."""
    upper = soap.channels * (soap.channels + 1) // 2
    places, weights = unpacking(soap.channels)
    found = []
    for l, c in enumerate(coefficients):
        packed = cotangent[l * upper : (l + 1) * upper] * spectrum_prefactor(l)
        full = packed[places].reshape(soap.channels, soap.channels, -1)
        full = full * jnp.asarray(weights, full.dtype)[:, :, None]
        found.append(contractions.over_channels(full, c))
    return found


def jacobian(
    soap: SOAP, parts: Expansion, slots: tuple[int, ...]
) -> Float[Array, "features 3 slots atoms"]:
    """Derivative of each atom's features by the displacement to each neighbour, 1/Å."""
    return project_jacobian(soap, spectrum_jacobian(soap, parts, slots), parts.centres)


def project_jacobian(
    soap: SOAP, full: Float[Array, "spectrum 3 slots atoms"], centres: Int[Array, " atoms"]
) -> Float[Array, "features 3 slots atoms"]:
    """Derivatives of the features from those of the spectrum."""
    each = jnp.tile(centres, full[0, ..., 0].size)
    return soap.project(full.reshape(len(full), -1), each).reshape(-1, *full.shape[1:])


def spectrum_jacobian(
    soap: SOAP, parts: Expansion, slots: tuple[int, ...]
) -> Float[Array, "spectrum 3 slots atoms"]:
    """`jacobian` before the projection."""
    upper = soap.channels * (soap.channels + 1) // 2
    moves = spectrum_moves(soap, parts, slots)
    spectra = [parts.spectrum[l * upper : (l + 1) * upper] for l in range(soap.l_max + 1)]
    # Written block by block: joining blocks would pass over these many numbers once more, and again.
    full = jnp.zeros((soap.n_spectrum, *parts.displacements.shape), parts.spectrum.dtype)
    for s, here in enumerate(slot_slices(slots)):
        some = moved_entries(soap, s)
        # How the length of the spectrum changes, which all its entries feel.
        along = sum(jnp.sum(p[some][:, None, None] * of_l[s], axis=0) for p, of_l in zip(spectra, moves, strict=True))
        for l, of_l in enumerate(moves):
            rows = of_l[s]
            if len(some) < upper:  # the others are what a row of zeros says
                place = np.full(upper, len(some))
                place[some] = np.arange(len(some))
                rows = jnp.concatenate([rows, jnp.zeros_like(rows[:1])])[place]
            if not soap.dscribe:
                rows = (rows - spectra[l][:, None, None] * along) / parts.norm
            full = jax.lax.dynamic_update_slice(full, rows, (l * upper, 0, here.start, 0))
    return full


def spectrum_moves(
    soap: SOAP, parts: Expansion, slots: tuple[int, ...]
) -> list[list[Float[Array, "moved 3 _ atoms"]]]:
    """Derivatives of the spectrum before it is divided by its length, by displacements of neighbours: [l][species].

    A neighbour moves the entries of its own species alone: `moved_entries` says which, and in what order.
    """
    unit = unit_vectors(parts)
    flat, weights = packing(soap.n_max)
    found = []
    for l, (c, (value, slope)) in enumerate(zip(parts.coefficients, radial_functions(soap, parts), strict=True)):
        of_l = []
        for s, here in enumerate(slot_slices(slots)):
            radial = jnp.einsum("qma,mka->qka", c, parts.harmonics[l][:, here])
            towards = radial[:, None] * unit[None, :, here]
            angular = jnp.zeros_like(towards)
            if l:
                angular = jnp.einsum("qma,mbka->qbka", c, harmonic_slopes(soap, parts, l)[:, :, here])
            scale = spectrum_prefactor(l)
            blocks = []
            for q in _channels(soap, s):
                outer = slope[:, None, None, here] * towards[q] + value[:, None, None, here] * angular[q]
                if not blocks:
                    both = (outer + jnp.swapaxes(outer, 0, 1)).reshape(-1, *outer.shape[2:])
                    outer = both[flat] * jnp.asarray(weights * scale, c.dtype)[:, None, None, None]
                else:
                    outer = outer.reshape(-1, *outer.shape[2:]) * (sqrt(2.0) * scale)
                blocks.append(outer)
            of_l.append(jnp.concatenate(blocks))
        found.append(of_l)
    return found


def moved_entries(soap: SOAP, s: int) -> Int[np.ndarray, " moved"]:
    """Entries of one l's spectrum that neighbours of species `s` move, ordered as `spectrum_moves` has them."""
    places, _ = unpacking(soap.channels)
    places = places.reshape(soap.channels, -1)
    own, *others = _channels(soap, s)
    among = places[own, own][np.triu_indices(soap.n_max)]
    return np.concatenate([among, *(places[own, q].reshape(-1) for q in others)])


def _channels(soap: SOAP, s: int) -> list[slice]:
    """Channels of species `s`, and those before and after them."""
    first, last = s * soap.n_max, (s + 1) * soap.n_max
    others = (slice(0, first), slice(last, soap.channels))
    return [slice(first, last), *(q for q in others if q.stop > q.start)]


def radial_functions(
    soap: SOAP, parts: Expansion
) -> list[tuple[Float[Array, "n slots atoms"], Float[Array, "n slots atoms"]]]:
    """Orthonormal radial functions at each neighbour over r^l, for each l, and their derivatives by r."""
    basis = soap.basis(parts.displacements.dtype)
    found = []
    for decay, mixing, gaussians in zip(basis.decay, basis.mixing, parts.gaussians, strict=True):
        inner = parts.weight_slope - 2.0 * decay[:, None, None] * parts.distance * parts.weight
        found.append((jnp.tensordot(mixing, gaussians * parts.weight, 1), jnp.tensordot(mixing, gaussians * inner, 1)))
    return found


def harmonic_slopes(soap: SOAP, parts: Expansion, l: int) -> Float[Array, "_ 3 slots atoms"]:
    """Derivatives of the solid harmonics of degree `l` ≥ 1 by x, y and z, 1/Å."""
    matrices = jnp.asarray(gradient_matrices(l), parts.displacements.dtype)
    slopes = jnp.einsum("bmn,nka->mbka", matrices, parts.harmonics[l - 1])
    return slopes / soap.basis(parts.displacements.dtype).length


def unit_vectors(parts: Expansion) -> Float[Array, "3 slots atoms"]:
    """Directions of the neighbours; zero for one at the centre."""
    return parts.displacements / jnp.where(parts.distance > 0, parts.distance, 1.0)


def slot_slices(slots: tuple[int, ...]) -> list[slice]:
    """The slots of each species of neighbours."""
    edges = np.concatenate([[0], np.cumsum(slots)])
    return [slice(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _through_norm(soap: SOAP, parts: Expansion, cotangent: Array) -> Array:
    if soap.dscribe:
        return cotangent
    along = jnp.sum(parts.spectrum * cotangent, axis=0)
    return (cotangent - parts.spectrum * along) / parts.norm


def unpacking(
    channels: int,
) -> tuple[Int[np.ndarray, " pairs"], Float[np.ndarray, "channels channels"]]:
    """Place in the packed block, and weight, of each (q, q'): the transpose of packing, symmetrised."""
    place = np.zeros((channels, channels), np.int64)
    upper = np.triu_indices(channels)
    place[upper] = np.arange(len(upper[0]))
    place = np.maximum(place, place.T)
    weight = np.where(np.eye(channels) > 0, 2.0, sqrt(2.0))
    return place.reshape(-1), weight
