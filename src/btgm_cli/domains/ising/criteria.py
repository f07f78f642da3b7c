"""The criterion that makes the field the Ising model's."""

from __future__ import annotations

import torch
from torch import Tensor


class Ising:
    """f(x) = Σᵢ log 2 cosh xᵢ, nats: log of the sum over all spins in the local field x.

    Its tilt at β = 1 is the Ising model's field (`domains.ising.field`). The classes are the signs
    of the magnetization, so that a model that keeps to one of them is told so.
    """

    n_classes = 2

    def __call__(self, x: Tensor) -> Tensor:
        """f of shape (n,) for x of shape (n, sites)."""
        return torch.logaddexp(x, -x).sum(-1)

    def classes(self, x: Tensor) -> Tensor:
        """1 where the mean spin given x (n, sites), Σ tanh xᵢ, is positive, else 0; shape (n,)."""
        return (torch.tanh(x).sum(-1) > 0).long()
