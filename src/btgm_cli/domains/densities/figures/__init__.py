"""Figures of energies in the plane."""
