"""Another run's tuned model as a source of draws for this one's tilt, by way of x.

Two runs on the same x have latent spaces of their own; where both know the density of x, what one
of them draws has a density in the other's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from btgm_cli.core.contracts import ExplicitDensity, GenerativeModel
from btgm_cli.tuned.model import TunedModel


class Guest:
    """A tuned model, told in the latent space of another model of the same x.

    Args:
        tuned: whose draws they are.
        model: whose latent space z is.

    Raises:
        TypeError: one of the two models has no explicit density.
    """

    def __init__(self, tuned: TunedModel, model: GenerativeModel) -> None:
        if not isinstance(tuned.model, ExplicitDensity) or not isinstance(model, ExplicitDensity):
            raise TypeError("both models must know the density of any x")
        self.tuned, self.model = tuned, model
        self._host: ExplicitDensity = model
        self._home: ExplicitDensity = tuned.model

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """z of shape (n, D), in the other model's space."""
        own, _ = self.tuned.draw(n, generator)
        with torch.no_grad():
            return self._host.encode(self.tuned.model.decode(own))

    def log_prob(self, z: Tensor) -> Tensor:
        """log density, nats (n,), for any z (n, D) of the other model; −inf where it has none."""
        with torch.no_grad():
            x = self.model.decode(z)
            own = self._home.encode(x)
            tilt = self.tuned.log_prob(own) - self.tuned.model.prior_log_prob(own)
            of_x = tilt + self._home.log_prob(x)
            log_q = of_x + self.model.prior_log_prob(z) - self._host.log_prob(x)
        return torch.where(torch.isfinite(log_q), log_q, -math.inf)
