"""Simulators as generators: their parameters θ are tuned towards what looks like the data.

A simulator has parameters with a prior, and a seed; it gives data, and no likelihood. Its prior is
the model, so that x = θ, and a synthetic log-likelihood (Wood, *Statistical inference for noisy
nonlinear ecological dynamic systems*, Nature 466, 2010) is the criterion: at β = 1 the tilt is the
posterior.
"""
