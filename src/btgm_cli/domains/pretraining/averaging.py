"""Averaged weights and the schedule of a learning rate."""

from __future__ import annotations

import torch
from torch import nn


def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move `average` towards `network`: an exponential moving average of its parameters.

    Args:
        average: The network to move, in place.
        network: The network in training.
        decay: Weight of the past, in [0, 1).
        step: Steps taken; the first ones forget faster, so that the start is not remembered.
    """
    weight = 1 - min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for mean, parameter in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(parameter, weight)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group of parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def decayed(rate: float, step: int, steps: int, hold: float) -> float:
    """`rate` for the first `hold` of all `steps`, then straight down to zero at the last."""
    left = (steps - step) / (steps * (1 - hold))
    return rate * min(1.0, left)
