"""The tuned model: draws with their density, and the density of any point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.latent_criterion import draw_x
from btgm_cli.core.results import State
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.flows import Flow, build_flow
from btgm_cli.tuned.mixture import DEFENSIVE, THINNEST, Mixture, Offered

BLOCK = 10_000
"""Latent draws proposed at once; bounds memory."""


class TunedModel:
    """q̂_β: the frozen model, its prior pushed through a flow and sifted by learned acceptance.

    Args:
        model: the frozen generator.
        flow: the trained flow on its latent space.
        acceptance: mixes in draws of p, and keeps or refuses; None leaves the flow as it is.

    Examples:
        >>> import torch
        >>> from btgm_cli import InverseAutoregressive, TunedModel, load_model
        >>> flow = InverseAutoregressive(4, depth=2, hidden=[16])
        >>> tuned = TunedModel(load_model("gaussian", latent_dim=4), flow)
        >>> z, log_q = tuned.draw(16, torch.Generator().manual_seed(0))
        >>> z.shape, log_q.shape
        (torch.Size([16, 4]), torch.Size([16]))
        >>> torch.allclose(tuned.log_prob(z), log_q, atol=1e-3)
        True
    """

    def __init__(
        self, model: GenerativeModel, flow: Flow, acceptance: Acceptance | None = None
    ) -> None:
        self.model, self.flow, self.acceptance = model, flow, acceptance
        self.mixture = Mixture(model, flow)

    @classmethod
    def of(
        cls,
        model: GenerativeModel,
        flow_settings: Mapping[str, Any],
        flow_state: State,
        acceptance_state: State | None = None,
        device: torch.device | str = "cpu",
    ) -> TunedModel:
        """The tuned model that was kept: a flow and an acceptance of its own, with these weights.

        Args:
            model: the frozen generator, on `device`.
            flow_settings: `Flow.settings` of the flow.
            flow_state: its weights.
            acceptance_state: those of the learned acceptance; None or empty where there is none.
            device: where the draws are made.
        """
        flow = build_flow(flow_settings, flow_state).to(device)
        acceptance = Acceptance.of(acceptance_state).to(device) if acceptance_state else None
        return cls(model, flow, acceptance)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw z ~ q̂ of shape (n, D) with log q̂(z) in nats of shape (n,)."""
        if self.acceptance is None or self.acceptance.is_open:
            return self.mixture.flow_draws(n, generator)
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
        z, _ = self.draw(n, generator)
        return draw_x(self.model, z, generator)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q̂(z) in nats, shape (n,), for any z (n, D); −inf where inverting fails."""
        offered = self.mixture.at(z)
        if self.acceptance is None or self.acceptance.is_open:
            return self.model.prior_log_prob(z) + offered.log_flow
        return self._sifted(self.acceptance, offered)[1]

    def _kept(
        self, acceptance: Acceptance, n: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """What is kept of n draws of the mixture, in random order, with log q̂."""
        device = generator.device
        log_u = torch.rand(n, generator=generator, device=device).log()
        count = int((torch.rand(n, generator=generator, device=device) < DEFENSIVE).sum())
        from_p = self.model.sample_prior(count, generator)
        with torch.no_grad():
            # Where m is thinnest a is largest: most draws of p are refused even so.
            hopeful = log_u[:count] < acceptance.log_accept(from_p, THINNEST)
        of_flow = self.mixture.draw_flow(n - count, generator)
        offered = self.mixture.at(from_p[hopeful]).then(of_flow)
        log_u = torch.cat([log_u[:count][hopeful], log_u[count:]])
        log_a, log_q = self._sifted(acceptance, offered)
        order = torch.randperm(len(log_u), generator=generator, device=device)
        keep = order[(log_u < log_a)[order]]
        return offered.z[keep], log_q[keep]

    def _sifted(self, acceptance: Acceptance, offered: Offered) -> tuple[Tensor, Tensor]:
        """log a and log q̂ of what is offered, each of shape (n,)."""
        z, log_ratio = offered.z, offered.log_ratio
        with torch.no_grad():
            log_a = acceptance.log_accept(z, log_ratio)
        log_q = self.model.prior_log_prob(z) + log_ratio + log_a
        return log_a, log_q - acceptance.log_mean.to(z)
