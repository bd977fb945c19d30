r"""SOAP power spectrum of an atom's surroundings.

Neighbours are Gaussians of width σ; their density is expanded in an orthonormal radial basis and real
spherical harmonics, $c_{qlm}$ with q = (species, n), and made invariant to rotation by

    $p_{qq'l} = \pi\sqrt{8/(2l+1)} \sum_m c_{qlm} c_{q'lm}$,   q ≤ q', those with q < q' times √2,

so that the dot product of two vectors is that of the full, symmetric spectra.
Source: Bartók, Kondor & Csányi, Phys. Rev. B 87, 184115 (2013); prefactor as in De, Bartók, Csányi &
Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016), eq. 10.
"""

from collections.abc import Callable
from math import log, pi, sqrt
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from gpjaxpot.arrays import AnyArray
from gpjaxpot.descriptors.cutoff import radial_weight, smooth_cutoff
from gpjaxpot.descriptors.harmonics import solid_harmonics
from gpjaxpot.descriptors.radial import INNER_RADIUS, RadialBasis, gto_basis
from gpjaxpot.errors import InputError

# Where DScribe lets a neighbour's Gaussian end, in units of σ: exp(−x²/2) = 1e-3.
TAIL = sqrt(-2.0 * log(1e-3))


class SOAP(eqx.Module):
    """Settings of the power spectrum and the map from displacements to feature vectors.

    Args:
        cutoff: radius (Å) at which neighbours have faded out; more than 1 Å.
        n_max: number of radial functions for each species.
        l_max: highest angular momentum.
        sigma: width (Å) of the Gaussian that stands for an atom.
        species: atomic numbers that may occur, ascending; empty until `fit` fills them in.
        cutoff_width: length (Å) over which neighbours fade out before `cutoff`.
        radial_scale: r₀ (Å) of the weight 1/(1 + (r/r₀)^m); None for no weighting.
        radial_exponent: m of that weight.
        dscribe: no cutoff function, no normalisation, neighbours to `cutoff` + 3.72 σ: then the vector
            is DScribe's, up to the order of its entries and the √2 of the off-diagonal ones.
        projection: for the atoms of each species, directions (orthonormal columns) that its vectors are projected
            on, after normalisation: fewer numbers say nearly the same.  None keeps the whole spectrum.
    """

    cutoff: Float[Array, ""]
    sigma: Float[Array, ""]
    cutoff_width: Float[Array, ""]
    radial_scale: Float[Array, ""] | None
    radial_exponent: Float[Array, ""]
    projection: Float[Array, "species spectrum features"] | None
    n_max: int = eqx.field(static=True)
    l_max: int = eqx.field(static=True)
    species: tuple[int, ...] = eqx.field(static=True)
    dscribe: bool = eqx.field(static=True)

    def __init__(
        self,
        cutoff: float = 5.0,
        n_max: int = 8,
        l_max: int = 6,
        sigma: float = 0.5,
        *,
        species: tuple[int, ...] = (),
        cutoff_width: float = 1.0,
        radial_scale: float | None = None,
        radial_exponent: float = 4.0,
        dscribe: bool = False,
        projection: Float[AnyArray, "species spectrum features"] | None = None,
    ):
        """Check and keep the settings; numbers that may be learned are kept as arrays."""
        _check_settings(cutoff, n_max, l_max, sigma, cutoff_width, radial_scale)
        self.cutoff = jnp.asarray(cutoff, float)
        self.sigma = jnp.asarray(sigma, float)
        self.cutoff_width = jnp.asarray(cutoff_width, float)
        self.radial_scale = None if radial_scale is None else jnp.asarray(radial_scale, float)
        self.n_max, self.l_max = int(n_max), int(l_max)
        self.species = tuple(sorted({int(z) for z in species}))
        self.radial_exponent = jnp.asarray(radial_exponent, float)
        self.dscribe = bool(dscribe)
        self.projection = None if projection is None else jnp.asarray(projection, float)
        if self.projection is not None and self.projection.shape[:2] != (len(self.species), self.n_spectrum):
            raise InputError(
                f"a projection of this SOAP must have the shape (species {len(self.species)}, spectrum "
                f"{self.n_spectrum}, features), got {self.projection.shape}"
            )

    def with_species(self, species: tuple[int, ...]) -> "SOAP":
        """Return the same settings for the atomic numbers `species`, without a projection."""
        return self._changed(species=species)

    def with_basis(self, n_max: int, l_max: int) -> "SOAP":
        """Return the same settings with a basis of another size, without a projection."""
        return self._changed(n_max=n_max, l_max=l_max)

    def _changed(self, **changes: Any) -> "SOAP":
        settings: dict[str, Any] = {
            "cutoff": float(self.cutoff),
            "n_max": self.n_max,
            "l_max": self.l_max,
            "sigma": float(self.sigma),
            "species": self.species,
            "cutoff_width": float(self.cutoff_width),
            "radial_scale": None if self.radial_scale is None else float(self.radial_scale),
            "radial_exponent": float(self.radial_exponent),
            "dscribe": self.dscribe,
        }
        return SOAP(**(settings | changes))

    @property
    def channels(self) -> int:
        """Number of (species, n) pairs."""
        return len(self.species) * self.n_max

    @property
    def n_features(self) -> int:
        """Length of the vector."""
        return self.n_spectrum if self.projection is None else self.projection.shape[2]

    @property
    def n_spectrum(self) -> int:
        """Length of the vector before it is projected."""
        return self.channels * (self.channels + 1) // 2 * (self.l_max + 1)

    @property
    def reach(self) -> float:
        """Distance (Å) up to which neighbours must be listed."""
        tail = TAIL * float(self.sigma) if self.dscribe else 0.0
        return float(self.cutoff) + tail

    def basis(self, dtype: DTypeLike = float) -> RadialBasis:
        """Radial basis for the present cutoff and width, cast to `dtype` after it was made."""
        made = gto_basis(self.n_max, self.l_max, self.cutoff, self.sigma)
        return jax.tree.map(lambda x: x.astype(dtype), made)

    def weight(self, r: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        """Weight of a neighbour at distance `r` (Å)."""
        if self.dscribe:
            return (r <= self.cutoff + TAIL * self.sigma).astype(r.dtype)
        weight = smooth_cutoff(r, self.cutoff, self.cutoff_width)
        if self.radial_scale is None:
            return weight
        return weight * radial_weight(r, self.radial_scale, self.radial_exponent)

    def coefficients(
        self,
        displacements: Float[Array, "3 slots atoms"],
        mask: Bool[Array, "slots atoms"],
        centres: Int[Array, " atoms"],
        slots: tuple[int, ...],
    ) -> list[Float[Array, "channels _ atoms"]]:
        """Expansion coefficients c[q, m] of the density around each atom, one array for each l.

        `displacements` (Å) lead to the neighbours; slot groups follow `slots`, one for each species;
        `centres` holds the species index of each atom, which is part of its own density.
        """
        basis = self.basis(displacements.dtype)
        r2 = jnp.sum(displacements**2, axis=0)
        apart = r2 > 0  # coincident atoms must give finite derivatives, too
        r = jnp.where(apart, jnp.sqrt(jnp.where(apart, r2, 1.0)), 0.0)
        weight = jnp.where(mask, self.weight(r), 0.0)
        harmonics = solid_harmonics(displacements / basis.length, self.l_max)
        own = jax.nn.one_hot(centres, len(self.species), dtype=r2.dtype).T
        edges = np.concatenate([[0], np.cumsum(slots)])
        out = []
        for l in range(self.l_max + 1):
            radial = jnp.exp(-basis.decay[l][:, None, None] * r2) * weight
            parts = []
            for s in range(len(self.species)):
                here = slice(int(edges[s]), int(edges[s + 1]))
                primitive = jnp.einsum("nka,mka->nma", radial[:, here], harmonics[l][:, here])
                if l == 0:
                    primitive = primitive + own[s] / sqrt(4.0 * pi)
                parts.append(jnp.tensordot(basis.mixing[l], primitive, 1))
            out.append(jnp.concatenate(parts))
        return out

    def power_spectrum(
        self, coefficients: list[Float[Array, "channels _ atoms"]], products: Callable[[Array], Array] | None = None
    ) -> Float[Array, "features atoms"]:
        """Rotation-invariant products of the coefficients, l by l, q ≤ q' in row order, made by `products` if given."""
        upper, weights = packing(self.channels)
        blocks = []
        for l, c in enumerate(coefficients):
            full = jnp.einsum("qma,pma->qpa", c, c) if products is None else products(c)
            packed = full.reshape(self.channels**2, -1)[upper]
            scale = jnp.asarray(weights * spectrum_prefactor(l), packed.dtype)
            blocks.append(packed * scale[:, None])
        return jnp.concatenate(blocks)

    def __call__(
        self,
        displacements: Float[Array, "3 slots atoms"],
        mask: Bool[Array, "slots atoms"],
        centres: Int[Array, " atoms"],
        slots: tuple[int, ...],
    ) -> Float[Array, "features atoms"]:
        """Feature vector of each atom: unit length, unless in DScribe's form."""
        spectrum = self.power_spectrum(self.coefficients(displacements, mask, centres, slots))
        if not self.dscribe:
            # The centre is part of its density, so the length is never zero.
            spectrum = spectrum * jax.lax.rsqrt(jnp.sum(spectrum**2, axis=0))
        return self.project(spectrum, centres)

    def project(
        self, spectrum: Float[Array, "spectrum atoms"], centres: Int[Array, " atoms"]
    ) -> Float[Array, "features atoms"]:
        """Components of each atom's spectrum along the directions of its species."""
        if self.projection is None:
            return spectrum
        directions = self.projection.astype(spectrum.dtype)
        return sum(
            ((centres == s) * (p.T @ spectrum) for s, p in enumerate(directions)),
            jnp.zeros((self.n_features, spectrum.shape[1]), spectrum.dtype),
        )

    def lift(
        self, features: Float[Array, "features atoms"], centres: Int[Array, " atoms"]
    ) -> Float[Array, "spectrum atoms"]:
        """The transpose of `project`."""
        if self.projection is None:
            return features
        directions = self.projection.astype(features.dtype)
        return sum(
            (p @ ((centres == s) * features) for s, p in enumerate(directions)),
            jnp.zeros((self.n_spectrum, features.shape[1]), features.dtype),
        )


def packing(channels: int) -> tuple[Int[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """Flat places of q ≤ q' in a (q, q') matrix, and their weights: 1 on the diagonal, √2 off it."""
    q, p = np.triu_indices(channels)
    return q * channels + p, np.where(q == p, 1.0, sqrt(2.0))


def spectrum_prefactor(l: int) -> float:
    """Factor π√(8/(2l+1)) of the power spectrum."""
    return pi * sqrt(8.0 / (2 * l + 1))


def _check_settings(cutoff, n_max, l_max, sigma, cutoff_width, radial_scale) -> None:
    if not cutoff > INNER_RADIUS:
        raise InputError(f"SOAP cutoff must be more than {INNER_RADIUS} Å, got {cutoff}")
    if n_max < 1 or l_max < 0:
        raise InputError(f"SOAP needs n_max ≥ 1 and l_max ≥ 0, got {n_max} and {l_max}")
    if not sigma > 0:
        raise InputError(f"SOAP sigma must be positive (Å), got {sigma}")
    if not 0 < cutoff_width <= cutoff:
        raise InputError(
            f"SOAP cutoff_width must lie between 0 and the cutoff {cutoff} Å, got {cutoff_width}"
        )
    if radial_scale is not None and not radial_scale > 0:
        raise InputError(f"SOAP radial_scale must be positive (Å), got {radial_scale}")
