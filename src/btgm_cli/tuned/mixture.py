"""What a tuned model's draws are chosen from: a flow's, and a share of p's own.

    m(z) = (1 − α) q_flow(z) + α p(z)

A defensive mixture (Hesterberg 1995): what lies apart, a flow never finds. Densities are told
against p, as log ratios.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.tuned.flows import Flow

DEFENSIVE = 0.25
"""α, the share of p."""

THINNEST = math.log(DEFENSIVE)
"""log α, nats: log m − log p is nowhere less."""


@dataclass(frozen=True)
class Offered:
    """Points z (n, D), with log q_flow − log p there, shape (n,), nats."""

    z: Tensor
    log_flow: Tensor

    @property
    def log_ratio(self) -> Tensor:
        """log m − log p, shape (n,), at least log α."""
        return mixed(self.log_flow)

    def then(self, more: Offered) -> Offered:
        """These points, and more after them."""
        both = torch.cat([self.z, more.z]), torch.cat([self.log_flow, more.log_flow])
        return Offered(*both)


class Mixture:
    """m, of a flow on a model's latent space.

    A draw of m is one of p with probability α, else one of the flow; which come first, and how
    many of each, is the caller's.

    Args:
        model: the frozen generator, for p.
        flow: on its latent space.
    """

    def __init__(self, model: GenerativeModel, flow: Flow) -> None:
        self.model, self.flow = model, flow

    def flow_draws(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n draws z (n, D) of the flow itself with their log density (n,), nats."""
        z0 = self.model.sample_prior(n, generator)
        with torch.no_grad():
            z, log_det = self.flow(z0)
        return z, self.model.prior_log_prob(z0) - log_det

    def draw_flow(self, n: int, generator: torch.Generator) -> Offered:
        """n draws of the flow, offered."""
        z, log_q = self.flow_draws(n, generator)
        return Offered(z, log_q - self.model.prior_log_prob(z))

    def at(self, z: Tensor, hopeful: Tensor | None = None) -> Offered:
        """Any points z (n, D), offered; log q_flow is −inf where inverting the flow fails.

        Inverting is dear: where `hopeful` (n,) is false it is left out, as if it failed. m is
        then taken to be as thin as it can be, and what is chosen by p/m is over-rated.
        """
        log_flow = z.new_full((len(z),), -math.inf)
        wanted = slice(None) if hopeful is None else hopeful
        log_flow[wanted] = self._inverted(z[wanted])
        return Offered(z, log_flow)

    def _inverted(self, z: Tensor) -> Tensor:
        """log q_flow(z) − log p(z), shape (n,)."""
        if not len(z):
            return z.new_zeros(0)
        with torch.no_grad():
            z0, log_det = self.flow.inverse(z)
            log_flow = self.model.prior_log_prob(z0) - log_det - self.model.prior_log_prob(z)
        return torch.where(torch.isfinite(log_flow), log_flow, -math.inf)


def mixed(log_flow: Tensor) -> Tensor:
    """log m − log p from log q_flow − log p, any shape, nats."""
    defensive = torch.full_like(log_flow, THINNEST)
    return torch.logaddexp(log_flow + math.log1p(-DEFENSIVE), defensive)
