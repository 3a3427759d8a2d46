"""Densities, likelihoods and divergences: pure functions and small objects, each with a closed-form test."""
