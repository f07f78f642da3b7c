"""Standard targets of the sampling literature as tilts, with their exact log Z.

They are those of fab-jax (github.com/lollcat/fab-jax at c9f9913), by its own definitions. p is a
wide Gaussian and f = log target − log p, so that at β = 1 the tilt is the target and Z its
normalizing constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from btgm_cli.domains.densities.energy import BoltzmannTilt
from btgm_cli.domains.densities.normal import Normal
from btgm_cli.domains.densities.systems import (
    funnel,
    gaussian_mixture,
    many_well,
    many_well_log_z,
)


@dataclass(frozen=True)
class SamplingTarget:
    """A target and the Gaussian that it is sampled from.

    Args:
        name: in the table.
        model: p.
        energy: −log target, possibly without its constant: x (n, D) to (n,), nats.
        log_z: exact, nats.
    """

    name: str
    model: Normal
    energy: Callable[[Tensor], Tensor]
    log_z: float

    @cached_property
    def criterion(self) -> BoltzmannTilt:
        """f = log target − log p, shape (n,), for x of shape (n, D)."""
        return BoltzmannTilt(self.model, self.energy)


def gmm40() -> SamplingTarget:
    """40 Gaussians of variance 1 with means strewn over [−40, 40]² (fab-jax's `gmm_v0`)."""
    return SamplingTarget("gmm40", Normal(2, scale=25.0), gaussian_mixture, 0.0)


def gmm9() -> SamplingTarget:
    """9 Gaussians of variance 0.3 with means on {−5, 0, 5}² (fab-jax's `gmm_v1`)."""
    places = torch.tensor([-5.0, 0.0, 5.0])
    means = torch.cartesian_prod(places, places).tolist()
    energy = partial(gaussian_mixture, means=means, std=math.sqrt(0.3))
    return SamplingTarget("gmm9", Normal(2, scale=5.0), energy, 0.0)


def funnel10() -> SamplingTarget:
    """Neal's funnel in 10 dimensions."""
    return SamplingTarget("funnel10", Normal(10, scale=3.0), funnel, 0.0)


def many_well32() -> SamplingTarget:
    """16 double wells, of 2 dimensions each: 2¹⁶ modes."""
    model, log_z = Normal(32, scale=1.5), many_well_log_z(32)
    return SamplingTarget("many_well32", model, many_well, log_z)
