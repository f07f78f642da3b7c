"""The tuned model q̂: flow, learned acceptance, draws, density, correction."""
