"""The training of the load VAE, and its gates."""
