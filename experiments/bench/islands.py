"""Tuned models that do not know a part of the tilt, which is known by quadrature.

f is near 0 beyond a border in z₁ and falls steeply before it. Beyond a border in z₂ lies an
island where f is lower, but not that low. The learned acceptance knows the first border alone,
exactly: it refuses most of what would land on the island, so that what it lets through weighs
hundreds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.seeds import derived_generator
from btgm_cli.domains.analytic.gaussian import Gaussian
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.flows import Flow
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning.fitting import calibrate

BORDER, STEEP, FLOOR = 1.3, 8.0, -14.0
"""Of the first region: where it begins, in z₁, how steep f is there, and the least of f."""

LEAST_ACCEPTANCE = 0.1
"""Smallest E[a], as in the default tuning."""


@dataclass(frozen=True)
class Islands:
    """A criterion of z in at least two dimensions, to be tilted by β = 1.

    Args:
        border: where the island begins, in z₂.
        depth: how much lower f is on it, nats.
    """

    border: float
    depth: float

    def __call__(self, z: Tensor) -> Tensor:
        """f of shape (n,) for z of shape (n, D)."""
        return torch.maximum(known(z), _plateau(z[:, 1], self.border) - self.depth)

    def exact(self) -> tuple[float, float, float]:
        """E f and log Z of the tilt, and the share of it that the acceptance does not know."""
        grid = torch.linspace(-8, 8, 1601, dtype=torch.double)
        z = torch.cartesian_prod(grid, grid)
        f = self(z)
        log_w = f - 0.5 * z.square().sum(-1)
        weight = torch.softmax(log_w, 0)
        log_area = 2 * math.log(16 / 1600) - math.log(2 * math.pi)
        log_z = torch.logsumexp(log_w, 0).item() + log_area
        unknown = weight[f > known(z) + 1].sum().item()
        return (weight * f).sum().item(), log_z, unknown


def known(z: Tensor) -> Tensor:
    """F without the island, shape (n,), for z of shape (n, D)."""
    return _plateau(z[:, 0], BORDER)


def _plateau(t: Tensor, border: float) -> Tensor:
    """Near 0 beyond the border, down to `FLOOR` before it."""
    return nn.functional.logsigmoid(STEEP * (t - border)).clamp(min=FLOOR)


class Shifted(Flow):
    """z = z₀ + shift.

    Args:
        shift: shape (D,).
    """

    def __init__(self, shift: Tensor) -> None:
        super().__init__(shift.numel(), 1, nn.Identity, seed=0)
        self.shift = shift

    def forward(self, z0: Tensor) -> tuple[Tensor, Tensor]:
        """Z and log|det| = 0."""
        return z0 + self.shift, z0.new_zeros(len(z0))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z₀ and log|det| = 0."""
        return z - self.shift, z.new_zeros(len(z))


class Ignorant(Acceptance):
    """Learned acceptance that knows `known` exactly, and of no island."""

    def each(self, z: Tensor) -> Tensor:
        """What each network says, shape (members, n): all the same."""
        return known(z).expand(len(self.nets), -1)


def ignorant(islands: Islands, dim: int) -> tuple[LatentCriterion, TunedModel]:
    """f̂ on N(0, I) in so many dimensions, and a tuned model that does not know the island."""
    f = LatentCriterion(Gaussian(dim), islands)
    shift = torch.zeros(dim)
    shift[0] = BORDER
    flow, acceptance = Shifted(shift), Ignorant(dim)
    acceptance.beta.fill_(1.0)
    calibrate(acceptance, f, flow, LEAST_ACCEPTANCE, derived_generator(0, "islands"))
    return f, TunedModel(f.model, flow, acceptance)
