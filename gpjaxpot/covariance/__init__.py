"""Covariances of energies, forces and stresses, by differentiating one energy kernel.

Order of the observables of a structure of N atoms, everywhere: energy (1), forces (3N, atom by atom, x y
z), stress (6, Voigt xx yy zz yz xz xy).  With R the positions, V the volume and ε a symmetric strain,

    F = −∂E/∂R,   σ = (1/V) ∂E/∂ε,

so cov(E, F') = −∂k/∂R', cov(F, F') = ∂²k/∂R∂R', cov(F, σ') = −(1/V') ∂²k/∂R∂ε', and so on.
"""
