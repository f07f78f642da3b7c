"""The prior of most generators: a standard normal."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from btgm_cli.core.errors import SettingError


class StandardNormal:
    """z ~ N(0, I_D). A generator that subclasses it needs only `decode`.

    One that is an `nn.Module` too names this class first: `class Mine(StandardNormal, nn.Module)`.

    Args:
        latent_dim: D, at least 2.

    Raises:
        SettingError: another D.

    Examples:
        >>> import torch
        >>> from btgm_cli import StandardNormal
        >>> class Ring(StandardNormal):
        ...     def decode(self, z):
        ...         return z / z.norm(dim=-1, keepdim=True)
        >>> ring = Ring(2)
        >>> ring.decode(ring.sample_prior(1000, torch.Generator().manual_seed(0))).shape
        torch.Size([1000, 2])
        >>> ring.prior_log_prob(torch.zeros(1, 2))  # −log 2π
        tensor([-1.8379])
    """

    def __init__(self, latent_dim: int) -> None:
        if isinstance(latent_dim, bool) or not isinstance(latent_dim, int) or latent_dim < 2:
            raise SettingError("model.latent_dim", latent_dim, "must be a whole number, 2 or more")
        super().__init__()
        self.latent_dim = latent_dim

    def sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw z ~ N(0, I), shape (n, D), on the generator's device."""
        return torch.randn(n, self.latent_dim, generator=generator, device=generator.device)

    def prior_log_prob(self, z: Tensor) -> Tensor:
        """log N(z; 0, I) in nats, shape (n,), for z of shape (n, D)."""
        return standard_normal_log_prob(z)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Log density of N(0, I) in nats, shape (n,), for z of shape (n, D)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))
