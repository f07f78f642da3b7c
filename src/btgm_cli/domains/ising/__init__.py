"""The Ising model on a torus, through its continuous field."""
