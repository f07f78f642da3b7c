"""The tuned model: draws with their density, and the density of any point."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.latent_criterion import draw_x
from btgm_cli.tuned.acceptance import DEFENSIVE, Acceptance, mixed
from btgm_cli.tuned.flows import Flow

BLOCK = 10_000
"""Latent draws proposed at once; bounds memory."""


class TunedModel:
    """q̂_β: the frozen model, its prior pushed through a flow and sifted by learned acceptance.

    Args:
        model: the frozen generator.
        flow: the trained flow on its latent space.
        acceptance: mixes in draws of p, and keeps or refuses; None leaves the flow as it is.
    """

    def __init__(
        self, model: GenerativeModel, flow: Flow, acceptance: Acceptance | None = None
    ) -> None:
        self.model = model
        self.flow = flow
        self.acceptance = acceptance

    def latent(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z ~ q̂ of shape (n, D) with log q̂(z) in nats of shape (n,)."""
        if self.acceptance is None or self.acceptance.is_open:
            return flow_draws(self.model, self.flow, n, generator)
        kept: list[tuple[Tensor, Tensor]] = []
        missing = n
        while missing > 0:
            offered = math.ceil(1.05 * missing / self.acceptance.rate) + 8
            z, log_q = self._kept(self.acceptance, min(offered, BLOCK), generator)
            kept.append((z[:missing], log_q[:missing]))
            missing -= len(kept[-1][0])
        return torch.cat([z for z, _ in kept]), torch.cat([log_q for _, log_q in kept])

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw x ~ p(x|z), z ~ q̂, of shape (n, *X)."""
        z, _ = self.latent(n, generator)
        return draw_x(self.model, z, generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q̂(z) in nats, shape (n,), for any z (n, D); −inf where inverting fails."""
        log_ratio = flow_log_ratio(self.model, self.flow, z)
        if self.acceptance is None or self.acceptance.is_open:
            return self.model.prior_log_prob(z) + log_ratio
        return self._sifted(self.acceptance, z, log_ratio)[1]

    def _kept(
        self, acceptance: Acceptance, n: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What is kept of n draws of the mixture, in random order, with log q̂."""
        device = generator.device
        log_u = torch.rand(n, generator=generator, device=device).log()
        count = int((torch.rand(n, generator=generator, device=device) < DEFENSIVE).sum())
        from_p = self.model.sample_prior(count, generator)
        with torch.no_grad():
            # Inverting the flow is dear. Where the flow's density is left out, a is only larger:
            # most draws of p are refused even so.
            at_most = acceptance.log_accept(from_p, from_p.new_full((count,), -math.inf))
            hopeful = log_u[:count] < at_most
        z, log_q = flow_draws(self.model, self.flow, n - count, generator)
        log_ratio = log_q - self.model.prior_log_prob(z)
        from_p = from_p[hopeful]
        log_ratio = torch.cat([flow_log_ratio(self.model, self.flow, from_p), log_ratio])
        z, log_u = torch.cat([from_p, z]), torch.cat([log_u[:count][hopeful], log_u[count:]])
        log_a, log_q = self._sifted(acceptance, z, log_ratio)
        order = torch.randperm(len(z), generator=generator, device=device)
        keep = order[(log_u < log_a)[order]]
        return z[keep], log_q[keep]

    def _sifted(
        self, acceptance: Acceptance, z: Tensor, log_ratio: Tensor
    ) -> tuple[Tensor, Tensor]:
        """log a and log q̂ at z (n, D), each of shape (n,), given log q_flow − log p there."""
        with torch.no_grad():
            log_a = acceptance.log_accept(z, log_ratio)
        log_q = self.model.prior_log_prob(z) + mixed(log_ratio) + log_a
        return log_a, log_q - acceptance.log_mean.to(z)


def flow_draws(
    model: GenerativeModel, flow: Flow, n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """n draws z (n, D) of the flow itself with their log density (n,), nats."""
    z0 = model.sample_prior(n, generator)
    with torch.no_grad():
        z, log_det = flow(z0)
    return z, model.prior_log_prob(z0) - log_det


def flow_log_ratio(model: GenerativeModel, flow: Flow, z: Tensor) -> Tensor:
    """log q_flow(z) − log p(z), shape (n,), for any z (n, D); −inf where inverting fails."""
    if not len(z):
        return z.new_zeros(0)
    with torch.no_grad():
        z0, log_det = flow.inverse(z)
        log_ratio = model.prior_log_prob(z0) - log_det - model.prior_log_prob(z)
    return torch.where(torch.isfinite(log_ratio), log_ratio, -math.inf)
