"""Gaussian-process posteriors on covariance matrices, noise, evidence and inducing points."""
