"""What a tempered SMC holds: its populations at one tilt of the ladder, and those around a β."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rung:
    """The populations at one tilt of the ladder.

    Args:
        beta: the tilt.
        z: particles, shape (R, N, D): R populations of N, equally weighted.
        f: criterion on them, shape (R, N).
        log_z: log Z(β) of each population, shape (R,), nats.
        f_evals: criterion evaluations spent up to here, gradients among them.
        memory: correlation of the particles' f before and after the moves, the largest of all
            rungs up to here. Where modes lie apart particles stay in theirs, and yet forget f.
    """

    beta: float
    z: Tensor
    f: Tensor
    log_z: Tensor
    f_evals: int
    memory: float = 0.0

    def log_density(self, f: Tensor) -> Tensor:
        """Log of its particles' density over p's, times their number, at f (R, M), nats."""
        return math.log(self.f.shape[-1]) + self.beta * f - self.log_z[:, None]


@dataclass(frozen=True)
class Weighted:
    """The particles of the rungs around a β.

    Args:
        z: shape (R, M, D).
        f: criterion on them, shape (R, M).
        log_w: their log weights, shape (R, M); those of a population add up to its Z(β).
        top: the higher of the rungs.
    """

    z: Tensor
    f: Tensor
    log_w: Tensor
    top: Rung

    @property
    def shares(self) -> Tensor:
        """Weights (R, M) of sum 1: populations count by their estimate of Z."""
        return torch.softmax(self.log_w.flatten(), 0).view_as(self.log_w)
