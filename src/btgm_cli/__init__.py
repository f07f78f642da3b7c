"""Boltzmann tuning of generative models."""
