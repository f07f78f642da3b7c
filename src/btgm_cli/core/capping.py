"""Energies that count as less where they are so high that no tilt of interest knows of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CEILING = 100.0
"""nats: what a reduced energy may exceed the lowest met by, and another for each coordinate,
before it counts as less. At β = 1 the weight there is e⁻¹⁰⁰ at most."""

HIGHEST = 1e10
"""nats above the ceiling, from where on an energy is a wall, as +∞ is."""


def ceiling_over(energies: Tensor, lowest: float, dim: int) -> float:
    """The ceiling for energies (n,) of draws of p in so many dimensions, `lowest` the best known.

    No lower than half of them: were all of p's draws beyond, the tilts would leap at some β from a
    plain as wide as p to what lies below it, as at a transition of first order.
    """
    return max(lowest + CEILING + dim, energies.median().item())


def capped(energy: Tensor, ceiling: float) -> Tensor:
    """An energy, any shape, that grows as its logarithm beyond the ceiling, and there no more."""
    if math.isinf(ceiling):
        return energy
    # Each branch is given what it can take: NaN times 0 would be the gradient of the other.
    above = energy > ceiling
    excess = torch.where(above, energy - ceiling, 0.0).clamp(max=HIGHEST)
    return torch.where(above, ceiling, energy) + torch.log1p(excess)
