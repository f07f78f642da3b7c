"""Flows on a Gaussian whose density and distance from the tilt are known."""

import torch

from btgm_cli.core.results import Moments
from btgm_cli.tuned.flows import Flow


class Affine(Flow):
    """z = scale · z₀ + shift: the exact tilt of a Gaussian, or a deliberately wrong one."""

    def __init__(self, shift: torch.Tensor, scale: float = 1.0) -> None:
        super().__init__(shift.numel(), 1, torch.nn.Identity, seed=0)
        self.shift = torch.nn.Parameter(shift)
        self.scale = scale

    def forward(self, z0):
        log_det = self.latent_dim * torch.tensor(self.scale, device=z0.device).log()
        return self.scale * z0 + self.shift, log_det.expand(z0.shape[0])

    def inverse(self, z):
        z0 = (z - self.shift) / self.scale
        return z0, self.forward(z0)[1]


def unit_direction(dim: int) -> torch.Tensor:
    return torch.ones(dim) / dim**0.5


def moments_of(reference) -> Moments:
    """Exact moments, as if an ideal flow had been evaluated on infinitely many draws."""
    return Moments(
        beta=reference.beta,
        mean=reference.mean,
        mean_se=0.0,
        var=reference.var,
        m3=reference.m3,
        kl=reference.kl,
        kl_se=0.0,
        loss=reference.kl - reference.beta * reference.mean,
        loss_se=0.0,
        n=0,
    )
