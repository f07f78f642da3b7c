"""The analytic model: a standard Gaussian with the identity as decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError
from btgm_cli.core.prior import standard_normal_log_prob


class Gaussian:
    """z ~ N(0, I_D), x = z: its tilts are the oracle of the tests.

    Args:
        latent_dim: D, at least 2.
    """

    def __init__(self, latent_dim: int = 8) -> None:
        if isinstance(latent_dim, bool) or not isinstance(latent_dim, int) or latent_dim < 2:
            raise SettingError("model.latent_dim", latent_dim, "must be a whole number, 2 or more")
        self.latent_dim = latent_dim

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw z ~ N(0, I), shape (n, D), on the generator's device."""
        return torch.randn(n, self.latent_dim, generator=generator, device=generator.device)

    def prior_log_prob(self, z: Tensor) -> Tensor:
        """log p(z) in nats, shape (n,), for z of shape (n, D)."""
        return standard_normal_log_prob(z)

    def decode(self, z: Tensor) -> Tensor:
        """X = z, shape (n, D)."""
        return z
