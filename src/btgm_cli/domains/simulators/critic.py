"""A Wasserstein critic with gradient penalty, that tells simulated units from observed ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.pretraining.penalties import gradient_penalty
from btgm_cli.domains.pretraining.trainee import falling, seeded

HIDDEN, LEAK = 32, 0.1
STEPS, BATCH, RATE, MOMENTA = 1000, 512, 3e-3, (0.5, 0.9)
PENALTY = 10.0
"""Of Gulrajani et al. (2017)."""

JITTER = 1e-9
CHUNK = 100_000


@dataclass(frozen=True)
class Scale:
    """Units of data on scales of order one, uncorrelated: what distances are measured in.

    Args:
        center: shape (S,).
        turn: shape (S, S).
    """

    center: Tensor
    turn: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Scale:
        """By mean and covariance of units x (n, S)."""
        wide = x.double()
        covariance = torch.atleast_2d(torch.cov(wide.T))
        covariance = covariance + JITTER * covariance.diagonal().max() * torch.eye(len(covariance))
        turn = torch.linalg.inv(torch.linalg.cholesky(covariance))
        return cls(wide.mean(0).float(), turn.float())

    def __call__(self, x: Tensor) -> Tensor:
        """x (n, S) in single precision."""
        return (x.float() - self.center) @ self.turn.T


@dataclass(frozen=True, eq=False)
class Critic:
    """d(x), as steep as one at most, nearly: large where units are as the data are.

    Args:
        network: of units on their scale.
        scale: theirs.
    """

    network: nn.Module
    scale: Scale

    def __call__(self, x: Tensor) -> Tensor:
        """d of units x (n, S), shape (n,), in double precision, without gradient."""
        with torch.no_grad():
            parts = [self.network(self.scale(part))[:, 0] for part in x.split(CHUNK)]
        return torch.cat(parts).double()


def fitted_critic(real: Tensor, fake: Tensor, scale: Scale, seed: int) -> Critic:
    """The critic that maximizes E d(real) − E d(fake), its slope held near one.

    Args:
        real: observed units, shape (N, S).
        fake: simulated ones, shape (M, S).
        scale: on which slopes are measured.
        seed: of weights and batches.
    """
    with seeded(derived_seed(seed, "critic")) as generator:
        network = nn.Sequential(
            nn.Linear(real.shape[1], HIDDEN),
            nn.LeakyReLU(LEAK),
            nn.Linear(HIDDEN, HIDDEN),
            nn.LeakyReLU(LEAK),
            nn.Linear(HIDDEN, 1),
        )
    optimizer = torch.optim.Adam(network.parameters(), RATE, MOMENTA)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, falling(STEPS, 0.0))
    sides = scale(real), scale(fake)
    for _ in range(STEPS):
        one, other = (
            side[torch.randint(len(side), (BATCH,), generator=generator)] for side in sides
        )
        difference = network(other).mean() - network(one).mean()
        loss = difference + PENALTY * gradient_penalty(network, one, other, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    return Critic(network.requires_grad_(False), scale)
