"""Training of the networks that ship with the package, and the gates that they must pass."""
