"""The radial basis and the closed form of a projected Gaussian, against quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sph_harm_y

from gpjaxpot.descriptors.harmonics import solid_harmonics
from gpjaxpot.descriptors.radial import gto_basis, gto_exponents, orthonormalisation

N_MAX, L_MAX = 4, 3
CUTOFF, SIGMA = jnp.array(4.0), jnp.array(0.5)


def gauss_legendre(n, a, b):
    x, w = np.polynomial.legendre.leggauss(n)
    return a + (b - a) * (x + 1) / 2, w * (b - a) / 2


def radial_functions(r):
    """Orthonormal g_nl on a grid, [l, n, point]."""
    alpha = np.asarray(gto_exponents(N_MAX, L_MAX, CUTOFF))
    l = np.arange(L_MAX + 1)[:, None, None]
    primitives = r**l * np.exp(-alpha[:, :, None] * r**2)
    return np.asarray(orthonormalisation(jnp.asarray(alpha))) @ primitives


def test_primitives_have_decayed_at_their_radii():
    alpha = np.asarray(gto_exponents(N_MAX, L_MAX, CUTOFF))
    radii = np.linspace(1.0, 4.0, N_MAX)
    l = np.arange(L_MAX + 1)[:, None]
    np.testing.assert_allclose(radii**l * np.exp(-alpha * radii**2), 1e-3, rtol=1e-12)


def test_orthonormal_by_quadrature():
    r, w = gauss_legendre(200, 0.0, 20.0)  # the widest primitive is below 1e-70 there
    g = radial_functions(r)
    overlap = np.einsum("lap,lbp,p->lab", g, g, w * r**2)
    # Overlaps of neighbouring primitives leave a condition number of 1e4 to 1e5.
    np.testing.assert_allclose(overlap, np.broadcast_to(np.eye(N_MAX), overlap.shape), atol=1e-10)


def test_lowdin_matrices_stay_near_the_primitives():
    # S^(-1/2) is symmetric and positive: the one orthonormal basis nearest to the primitives.
    mix = np.asarray(orthonormalisation(gto_exponents(N_MAX, L_MAX, CUTOFF)))
    np.testing.assert_allclose(mix, mix.transpose(0, 2, 1), rtol=1e-10)
    assert np.linalg.eigvalsh(mix).min() > 0


@pytest.mark.parametrize("neighbour", [(0.3, -0.8, 0.5), (0.0, 0.0, 2.1), (-2.4, 1.7, 1.1)])
def test_projected_gaussian_equals_quadrature(neighbour):
    # ∫ g_nl(r) Y_lm exp(−|r − R|²/2σ²) d³r on a product grid in r, cos θ and φ: exact to
    # round-off for these smooth functions, so the tolerance is that of the Löwdin matrices.
    r, wr = gauss_legendre(80, 0.0, 8.0)
    cosine, wc = gauss_legendre(50, -1.0, 1.0)
    phi = 2 * np.pi * np.arange(100) / 100
    sine = np.sqrt(1 - cosine**2)
    directions = np.stack([np.outer(sine, np.cos(phi)), np.outer(sine, np.sin(phi)), np.outer(cosine, 1 + 0 * phi)])
    along = np.einsum("x,xcp->cp", neighbour, directions)
    distance2 = r[:, None, None] ** 2 - 2 * r[:, None, None] * along + np.dot(neighbour, neighbour)
    weighted = np.exp(-0.5 * distance2 / 0.5**2) * wc[:, None] * (2 * np.pi / 100)
    g = radial_functions(r)

    basis = gto_basis(N_MAX, L_MAX, CUTOFF, SIGMA)
    at = jnp.array(neighbour)
    harmonics = solid_harmonics(at / basis.length, L_MAX)
    for l in range(L_MAX + 1):
        projected = basis.mixing[l] @ jnp.exp(-basis.decay[l] * jnp.sum(at**2))
        ours = jnp.outer(projected, harmonics[l])
        for m in range(-l, l + 1):
            y = sph_harm_y(l, abs(m), np.arccos(cosine)[:, None], phi)
            part = y.real if m >= 0 else y.imag
            y = part if m == 0 else np.sqrt(2.0) * (-1) ** m * part
            expected = np.einsum("np,p,pct,ct->n", g[l], wr * r**2, weighted, y)
            np.testing.assert_allclose(ours[:, l + m], expected, atol=1e-10)


def test_differentiable_in_cutoff_and_width():
    @jax.jit
    def flat(cutoff, sigma):
        basis = gto_basis(N_MAX, L_MAX, cutoff, sigma)
        return jnp.concatenate([basis.decay.ravel(), basis.mixing.ravel()])

    jacobian = jax.jit(jax.jacfwd(flat, argnums=(0, 1)))(CUTOFF, SIGMA)
    h = 1e-5
    steps = [(h, 0.0), (0.0, h)]
    for ours, (dc, ds) in zip(jacobian, steps, strict=True):
        expected = (flat(CUTOFF + dc, SIGMA + ds) - flat(CUTOFF - dc, SIGMA - ds)) / (2 * h)
        # Step² times the third derivative, 1e-10 × 1e3, of entries up to 1e2.
        np.testing.assert_allclose(ours, expected, atol=1e-7 * np.abs(expected).max())
