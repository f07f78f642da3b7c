"""The bound that a VAE is trained by, on data held out."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from btgm_cli.domains.pretraining.gates import CHUNK, SAMPLE_SEED


class Bounded(Protocol):
    """A VAE."""

    latent_dim: int

    def bound(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x | z) and the KL, nats, each (n,), for x (n, *X) and noise (n, latent_dim)."""
        ...


def held_out_bound(network: Bounded, x: Tensor) -> tuple[float, float]:
    """Mean ELBO of x (n, *X), and the mean KL in it, nats."""
    rng = torch.Generator().manual_seed(SAMPLE_SEED)
    noise = torch.randn(len(x), network.latent_dim, generator=rng)
    with torch.no_grad():
        pairs = zip(x.split(CHUNK), noise.split(CHUNK), strict=True)
        terms = [torch.stack(network.bound(*pair)) for pair in pairs]
    log_prob, kl = torch.cat(terms, 1).double().mean(1).tolist()
    return log_prob - kl, kl
