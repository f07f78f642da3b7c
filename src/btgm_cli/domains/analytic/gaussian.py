"""The analytic model: a standard Gaussian with the identity as decoder."""

from __future__ import annotations

from torch import Tensor

from btgm_cli.core.prior import StandardNormal


class Gaussian(StandardNormal):
    """z ~ N(0, I_D), x = z: its tilts are the oracle of the tests.

    Args:
        latent_dim: D, at least 2.
    """

    def __init__(self, latent_dim: int = 8) -> None:
        super().__init__(latent_dim)

    def decode(self, z: Tensor) -> Tensor:
        """X = z, shape (n, D)."""
        return z
