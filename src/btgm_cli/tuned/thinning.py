"""How many steps a chain takes before it is read again.

An independence chain with weights w moves from a state x to a proposal y with probability
min(1, w(y)/w(x)), so that one with a large weight stays for long. What is left of where the
chains started is the share of them, under the tilt, that never moved: E (1 − λ')ᵏ after k steps,
with λ'(x) the probability to move. The few that stay for long decide, not the mean of λ'.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import torch
from torch import Tensor

MIXED = 0.01
"""A chain is let forget all but this share of what it remembers before it is read again."""

MOST_THINNING = 500


@dataclass(frozen=True)
class Thinning:
    """Steps between two readings, and the share of the chains that do not move in so many."""

    steps: int
    remembered: float

    @property
    def suffices(self) -> bool:
        """Is all but `MIXED` forgotten? Not where `MOST_THINNING` steps are too few."""
        return self.remembered <= MIXED


def thinning_for(log_weights: Tensor) -> Thinning:
    """The thinning of chains whose proposals have these log weights (n,)."""
    falling = log_weights.double().sort(descending=True).values
    return least_thinning(torch.softmax(falling, 0), staying(falling))


def staying(falling: Tensor) -> Tensor:
    """1 − λ' of each state, given the log weights (n,) of states and proposals, largest first."""
    n = len(falling)
    # A proposal that weighs more is always taken; those that weigh less, by their ratio.
    lesser = falling.flip(0).logcumsumexp(0).flip(0)[1:] - falling[:-1]
    more = torch.arange(n, device=falling.device, dtype=torch.double)
    more[:-1] += lesser.exp()
    return (1 - more / (n - 1)).clamp(min=0.0)


def least_thinning(share: Tensor, stays: Tensor) -> Thinning:
    """The fewest steps after which all but `MIXED` is forgotten, `MOST_THINNING` at most.

    Args:
        share: weight of each state under the tilt, shape (n,), sum 1.
        stays: its probability to stay for a step, shape (n,).
    """

    def remembered(steps: int) -> float:
        return float((share * stays**steps).sum().item())

    fewer = range(1, MOST_THINNING)
    steps = 1 + bisect_left(fewer, True, key=lambda steps: remembered(steps) <= MIXED)
    return Thinning(steps, remembered(steps))
