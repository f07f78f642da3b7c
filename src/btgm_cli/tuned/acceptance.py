"""Learned acceptance: a flow's draws are kept or refused before anything is decoded.

A flow is smooth, and a tilt often is not: at the border of a class f falls by many nats within a
short way. What leaks over the border, and what is too thin or too thick within it, a flow unlearns
very slowly. So s(z), the mean of small networks fitted to values of f that have been paid for,
refuses draws where p e^{βs} is smaller than the density m of the mixture that they come from:

    q̂(z) = m(z) a(z) / E[a],   log a(z) = min(0, β s(z) + log p(z) − log m(z) − level)

but bent where it is far below 0 (`log_acceptance`).

This is rejection control (Liu, Chen & Wong 1998) with a learned target, or learned accept/reject
sampling (Bauer & Mnih 2019). q̂ keeps an exact sampler and a density, whose constant E[a] is known
to a small Monte-Carlo error. It is no correction: where s is wrong, so is q̂, and every figure of
q̂ is measured with the true f.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from btgm_cli.core.errors import SettingError
from btgm_cli.core.results import State
from btgm_cli.core.seeds import derived_seed
from btgm_cli.tilt.bisection import bisect

WIDTH, DEPTH = 128, 4

MEMBERS = 2
"""Networks whose mean is s. What one gets wrong at a border the other rarely does: on the default
path two, at the same cost of fitting, are as good from 64,000 evaluations as one from 85,000."""

BEND, SLOPE = 3.0, 0.75
"""Beyond so many nats below the level, log a falls by this share of what it otherwise would."""


class Acceptance(nn.Module):
    """a(z), with the network s(z) behind it. It accepts everything until it is calibrated.

    Args:
        latent_dim: D.
        seed: of the initial weights.
        members: networks whose mean is s.
    """

    def __init__(self, latent_dim: int, seed: int = 0, members: int = MEMBERS) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # layers draw from the global generator
            torch.manual_seed(derived_seed(seed, "acceptance"))
            self.nets = nn.ModuleList(_network(latent_dim) for _ in range(members))
        self.center: Tensor
        self.scale: Tensor
        self.beta: Tensor
        self.level: Tensor
        self.log_mean: Tensor
        self.log_mean_se: Tensor
        start = {"center": 0.0, "scale": 1.0, "beta": 0.0, "level": -math.inf}
        for name, value in {**start, "log_mean": 0.0, "log_mean_se": 0.0}.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.double))

    @property
    def is_open(self) -> bool:
        """Does it keep all the flow's draws, and mix in none of p's?"""
        return self.level.item() == -math.inf

    @property
    def rate(self) -> float:
        """E[a], the share of the draws that is kept."""
        return math.exp(self.log_mean.item())

    def each(self, z: Tensor) -> Tensor:
        """What each network says of f̂ at z (n, D), shape (members, n)."""
        out = torch.stack([net(z).squeeze(-1) for net in self.nets])
        return out * self.scale.to(z) + self.center.to(z)

    def predict(self, z: Tensor) -> Tensor:
        """s(z), the networks' mean idea of f̂(z), shape (n,)."""
        return self.each(z).mean(0)

    def log_weight(self, z: Tensor, log_ratio: Tensor | float) -> Tensor:
        """Log of p e^{βs} / m, shape (n,), nats, given log m − log p on z (n, D).

        Here the networks' e^{βs} are averaged, not s: where one of them is far too low, a draw
        that slips through does not carry a huge weight.
        """
        each = self.beta.to(z) * self.each(z)
        return torch.logsumexp(each, 0) - math.log(len(each)) - log_ratio

    def log_accept(self, z: Tensor, log_ratio: Tensor | float) -> Tensor:
        """log a(z), shape (n,), at most 0, given log m(z) − log p(z), nats."""
        return log_acceptance(self.log_weight(z, log_ratio), self.level.to(z))

    def open(self) -> None:
        """Accept everything again."""
        for buffer, value in ((self.level, -math.inf), (self.log_mean, 0), (self.log_mean_se, 0)):
            buffer.fill_(value)

    def snapshot(self) -> State:
        """A detached copy of the weights, on the CPU."""
        return {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}

    @classmethod
    def of(cls, state: State) -> Acceptance:
        """The acceptance that `snapshot` took.

        Raises:
            SettingError: another version did.
        """
        if "nets.0.0.weight" not in state:
            expected = "are not those of this version of btgm; make the run again"
            raise SettingError("learned acceptance", "its weights", expected)
        members = sum(name.endswith(".0.weight") for name in state)
        acceptance = cls(state["nets.0.0.weight"].shape[1], members=members)
        acceptance.load_state_dict(state)
        return acceptance


def _network(latent_dim: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide, narrow in pairwise([latent_dim] + [WIDTH] * DEPTH):
        layers += [nn.Linear(wide, narrow), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 1))


def log_acceptance(log_weight: Tensor, level: Tensor | float) -> Tensor:
    """log a = min(0, log_weight − level), shape (n,), bent upwards where it is far below 0.

    Where s is far too low, a draw that slips through would carry a huge weight: the bend lets
    more of them through, with less weight each.
    """
    log_a = (log_weight - level).clamp(max=0.0)
    return torch.maximum(log_a, SLOPE * (log_a + BEND) - BEND)


def share_and_error(log_a: Tensor) -> tuple[float, float]:
    """E[a] over draws of m with these log a (n,), and its standard error."""
    a = log_a.double().exp()
    return a.mean().item(), a.std().item() / math.sqrt(a.numel())


def choose_level(log_weight: Tensor, least_share: float, good_enough: float) -> float:
    """The level to accept by: as strict as needed, and never below `least_share` of the draws.

    Stricter means closer to p e^{βs}. Stops at the level where the distance left to it is
    `good_enough` (nats), or at the one that keeps `least_share`.

    Args:
        log_weight: of draws of m, shape (n,).
        least_share: smallest E[a].
        good_enough: KL to p e^{βs} that needs no stricter level.
    """

    def too_lenient(level: float) -> bool:
        log_a = log_acceptance(log_weight, level)
        far = _distance(log_a, log_weight) > good_enough
        return far and share_and_error(log_a)[0] > least_share

    low, high = log_weight.min().item(), log_weight.max().item()
    return bisect(too_lenient, low, high, 50)[0]


def _distance(log_a: Tensor, log_weight: Tensor) -> float:
    """KL of m with acceptance from p e^{βs}, nats, from draws of m."""
    p = torch.softmax(log_a, 0)
    log_mean = torch.logsumexp(log_a, 0)
    log_z = torch.logsumexp(log_weight, 0)
    return float((p * (log_a - log_mean - log_weight + log_z)).sum().item())
