"""The prior of most generators: a standard normal."""

from __future__ import annotations

import math

from torch import Tensor


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Log density of N(0, I) in nats, shape (n,), for z of shape (n, D)."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))
