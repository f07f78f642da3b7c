"""Standard targets of the sampling literature as tilts, with their exact log Z.

They are those of fab-jax (github.com/lollcat/fab-jax at c9f9913), by its own definitions. p is a
wide Gaussian and f = log target − log p, so that at β = 1 the tilt is the target and Z its
normalizing constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from experiments.bench.means import MEANS
from torch import Tensor

from btgm_cli.core.prior import standard_normal_log_prob
from btgm_cli.domains.analytic.gaussian import Gaussian

LogDensity = Callable[[Tensor], Tensor]
"""log target, possibly without its constant: x (n, D) to (n,), nats."""


class Wide(Gaussian):
    """z ~ N(0, I_D), x = s z.

    Args:
        latent_dim: D.
        scale: s.
    """

    def __init__(self, latent_dim: int, scale: float) -> None:
        super().__init__(latent_dim)
        self.scale = scale

    def decode(self, z: Tensor) -> Tensor:
        """X = s z, shape (n, D)."""
        return self.scale * z


@dataclass(frozen=True)
class SamplingTarget:
    """A target and the Gaussian that it is sampled from.

    Args:
        name: in the table.
        model: p.
        log_density: of the target.
        log_z: exact, nats.
    """

    name: str
    model: Wide
    log_density: LogDensity
    log_z: float

    def criterion(self, x: Tensor) -> Tensor:
        """f = log target − log p, shape (n,), for x of shape (n, D)."""
        s = self.model.scale
        log_p = standard_normal_log_prob(x / s) - x.shape[-1] * math.log(s)
        return self.log_density(x) - log_p


def gmm40() -> SamplingTarget:
    """40 Gaussians of variance 1 with means strewn over [−40, 40]² (fab-jax's `gmm_v0`)."""
    return _mixture("gmm40", torch.tensor(MEANS), std=1.0, scale=25.0)


def gmm9() -> SamplingTarget:
    """9 Gaussians of variance 0.3 with means on {−5, 0, 5}² (fab-jax's `gmm_v1`)."""
    places = torch.tensor([-5.0, 0.0, 5.0])
    return _mixture("gmm9", torch.cartesian_prod(places, places), std=math.sqrt(0.3), scale=5.0)


def _mixture(name: str, means: Tensor, std: float, scale: float) -> SamplingTarget:
    """Gaussians of equal weight in the plane, means of shape (K, 2); p has this scale."""

    def log_density(x: Tensor) -> Tensor:
        white = (x[:, None, :] - means.to(x)) / std
        each = standard_normal_log_prob(white) - 2 * math.log(std)
        return torch.logsumexp(each, -1) - math.log(len(means))

    return SamplingTarget(name, Wide(2, scale), log_density, 0.0)


def funnel() -> SamplingTarget:
    """Neal's funnel in 10 dimensions: v ~ N(0, 9), x_i ~ N(0, eᵛ)."""

    def log_density(x: Tensor) -> Tensor:
        v, rest = x[:, :1], x[:, 1:]
        log_scale = 0.5 * rest.shape[-1] * v.squeeze(-1)
        narrow = standard_normal_log_prob(rest * torch.exp(-0.5 * v)) - log_scale
        return standard_normal_log_prob(v / 3) - math.log(3) + narrow

    return SamplingTarget("funnel10", Wide(10, 3.0), log_density, 0.0)


def many_well() -> SamplingTarget:
    """16 double wells, of 2 dimensions each (Midgley et al. 2023): 2¹⁶ modes.

    Unnormalized: log p̃(x₁, x₂) = −x₁⁴ + 6 x₁² + x₁/2 − x₂²/2 for each.
    """
    wells = 16

    def log_density(x: Tensor) -> Tensor:
        return _double_well(x[:, 0::2]).sum(-1) - 0.5 * x[:, 1::2].square().sum(-1)

    # The well is smooth and below e⁻³⁰⁰ at the ends, where the trapezoidal rule is exact to
    # rounding.
    grid = torch.linspace(-5.0, 5.0, 10_001, dtype=torch.double)
    well = torch.trapezoid(_double_well(grid).exp(), grid).log().item()
    log_z = wells * (well + 0.5 * math.log(2 * math.pi))
    return SamplingTarget("many_well32", Wide(2 * wells, 1.5), log_density, log_z)


def _double_well(x: Tensor) -> Tensor:
    return -x.pow(4) + 6 * x.square() + 0.5 * x
