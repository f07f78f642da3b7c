"""Summary statistics that nobody has named: a network learns to tell θ from one unit."""

from __future__ import annotations

import hashlib
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from btgm_cli.core.errors import SettingError
from btgm_cli.core.seeds import derived_seed
from btgm_cli.domains.pretraining.trainee import seeded
from btgm_cli.domains.simulators.model import Parameters
from btgm_cli.domains.simulators.simulator import SIMULATE, Simulator, prior_draws

CALLS, UNITS = 500, 40
"""θ of the prior, and units at each, that the network learns from."""

HIDDEN, STEPS, BATCH, RATE = 64, 1500, 1000, 3e-3


@dataclass(frozen=True)
class Learned:
    """Means of θ given one unit, on scales of order one: a statistic for each parameter.

    The mean of θ given the data is the best statistic of so few numbers (Fearnhead & Prangle,
    *Constructing summary statistics for approximate Bayesian computation*, 2012); here it is that
    given one unit, whose mean over units is compared.

    Args:
        network: of standardized units (n, C) to (n, P).
        center: of the units, shape (C,).
        spread: likewise.
    """

    network: nn.Module
    center: Tensor
    spread: Tensor

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Statistics (n, P) of units (n, C)."""
        with torch.no_grad():
            found: Tensor = self.network((torch.from_numpy(x) - self.center) / self.spread)
        return found.numpy()


def with_learned_summary(model: Parameters, seed: int) -> Parameters:
    """The same simulator, its units compared by what a network has learned of them.

    Args:
        model: the simulator's, without a summary.
        seed: of everything random.

    Raises:
        SettingError: a simulator with a summary, or one that fails too often.
    """
    simulator = model.simulator
    if simulator.summary is not None:
        expected = "is given; criterion.learned=true learns one of the columns: choose one of both"
        raise SettingError("model.summary", "a function", expected)
    x, u = _units(simulator, seed)
    twin = copy(simulator)
    summary = _fitted(x, u, seed)
    weights = b"".join(value.numpy().tobytes() for value in summary.network.state_dict().values())
    twin.summary, twin.n_statistics = summary, u.shape[1]
    twin.identity = f"{simulator.identity} {hashlib.sha256(weights).hexdigest()}"
    return Parameters(twin)


def _units(simulator: Simulator, seed: int) -> tuple[Tensor, Tensor]:
    """Units (n, C) at draws of p, and their θ on scales of order one, (n, P)."""
    theta = prior_draws(simulator.prior, CALLS, seed, "learned")
    seeds = [derived_seed(seed, "learned", k) for k in range(CALLS)]
    found = list(simulator.each(theta, UNITS, seeds))
    good = [k for k, units in enumerate(found) if units is not None]
    if not good:
        raise SettingError(SIMULATE, simulator.simulate, "gave no data at any θ of the prior")
    x = np.concatenate([units for units in found if units is not None])
    u = simulator.prior.scaled(theta[good]).repeat_interleave(UNITS, 0)
    return torch.from_numpy(x), u


def _fitted(x: Tensor, u: Tensor, seed: int) -> Learned:
    """The network with the least mean square error."""
    center, spread = x.mean(0), x.std(0).clamp(min=1e-12)
    with seeded(derived_seed(seed, "learned", "weights")) as generator:
        network = nn.Sequential(
            nn.Linear(x.shape[1], HIDDEN),
            nn.Tanh(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.Tanh(),
            nn.Linear(HIDDEN, u.shape[1]),
        ).double()
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(len(x), (BATCH,), generator=generator)
        away = network((x[chosen] - center) / spread) - u[chosen]
        optimizer.zero_grad()
        away.square().mean().backward()
        optimizer.step()
        rate.step()
    return Learned(network.requires_grad_(False), center, spread)
