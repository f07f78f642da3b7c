"""Energy, heat capacity and magnetization of a tuned model's spins, with their errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.domains.ising.exact import bonds
from btgm_cli.domains.ising.field import IsingField
from btgm_cli.domains.ising.spins import drawn
from btgm_cli.tuned.correction import Corrector


@dataclass(frozen=True)
class Measured:
    """Of one spin, each with its standard error; units as of `exact.Thermodynamics`.

    `up` is the share of states of positive magnetization, those of none counting half.
    """

    energy: float
    energy_se: float
    heat_capacity: float
    heat_capacity_se: float
    magnetization: float
    magnetization_se: float
    up: float
    up_se: float


@dataclass(frozen=True)
class States:
    """Σ sᵢsⱼ over the bonds and Σ sᵢ of states, with their log weights, each (n,)."""

    model: IsingField
    bond: Tensor
    total: Tensor
    log_weights: Tensor

    @classmethod
    def of(
        cls, model: IsingField, corrector: Corrector, n: int, generator: torch.Generator
    ) -> States:
        """n states: spins given the field of weighted draws."""
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for block in corrector.weighted():
            spins = drawn(block.x, generator)
            parts.append((bonds(spins, model.size), spins.sum(-1), block.log_weight))
            if sum(len(part[0]) for part in parts) >= n:
                break
        return cls(model, *(torch.cat(column)[:n].double() for column in zip(*parts, strict=True)))

    def measured(self, *, weighted: bool) -> Measured:
        """What they tell, with their weights or as they are."""
        sites, coupling = self.model.latent_dim, self.model.coupling
        log_w = self.log_weights if weighted else torch.zeros_like(self.log_weights)
        w = torch.softmax(log_w, 0) * len(log_w)
        energy, energy_se = _mean(w, -self.bond / sites)
        spread = (-self.bond / sites - energy).square()
        capacity, capacity_se = _mean(w, coupling**2 * sites * spread)
        magnetization = _mean(w, self.total.abs() / sites)
        up = _mean(w, (torch.sign(self.total) + 1) / 2)
        return Measured(energy, energy_se, capacity, capacity_se, *magnetization, *up)


def _mean(weights: Tensor, values: Tensor) -> tuple[float, float]:
    """Mean of values (n,) by weights of mean 1, and its standard error."""
    mean = (weights * values).mean()
    error = (weights * (values - mean)).std() / math.sqrt(len(values))
    return mean.item(), error.item()
