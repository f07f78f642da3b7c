"""Training of a density flow on configurations, by maximum likelihood."""
