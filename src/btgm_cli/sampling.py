"""Draws from a tuned model."""

from __future__ import annotations

import torch
from torch import Tensor

from btgm_cli.core import GenerativeModel
from btgm_cli.flows import Flow


class TunedModel:
    """q̂_β: the frozen model with its latent prior pushed through a flow.

    Args:
        model: the frozen generator.
        flow: the trained flow on its latent space.
    """

    def __init__(self, model: GenerativeModel, flow: Flow) -> None:
        self.model = model
        self.flow = flow

    def latent(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z ~ q̂ of shape (n, D) with log q̂(z) in nats of shape (n,)."""
        z0 = self.model.sample_prior(n, generator)
        with torch.no_grad():
            z, log_det = self.flow(z0)
        return z, self.model.prior_log_prob(z0) - log_det

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw x = decode(z), z ~ q̂, of shape (n, *X)."""
        z, _ = self.latent(n, generator)
        with torch.no_grad():
            return self.model.decode(z)
