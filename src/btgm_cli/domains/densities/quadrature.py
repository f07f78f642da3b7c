"""Boltzmann distributions in the plane by the trapezoidal rule: what runs are held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.domains.densities.energy import System


@dataclass(frozen=True)
class Grid:
    """A Boltzmann distribution on a grid.

    Args:
        x: points, shape (n², 2), the second coordinate fastest.
        energy: u there, kT, shape (n²,).
        weights: of sum 1, shape (n²,).
        log_z: log ∫ e^{−u/T} dx, nats.
    """

    x: Tensor
    energy: Tensor
    weights: Tensor
    log_z: float

    @property
    def mean_energy(self) -> float:
        """E u, kT."""
        return float((self.weights * self.energy).sum().item())

    def share(self, inside: Tensor) -> float:
        """Probability of the points where `inside` (n²,) holds."""
        return float(self.weights[inside].sum().item())


def on_grid(
    system: System,
    low: Sequence[float],
    high: Sequence[float],
    temperature: float = 1.0,
    n: int = 601,
) -> Grid:
    """The Boltzmann distribution of a smooth energy that is high at the edge of a rectangle.

    There the rule is exact but for what lies outside: 601 points a side give log Z of the systems
    here to 1e-6.

    Args:
        system: u, kT.
        low: corner of the rectangle.
        high: the other one.
        temperature: T.
        n: points a side.
    """
    axes = [torch.linspace(a, b, n, dtype=torch.double) for a, b in zip(low, high, strict=True)]
    x = torch.cartesian_prod(*axes)
    with torch.no_grad():
        energy = system(x)
    log_w = -energy / temperature
    cell = math.prod((b - a) / (n - 1) for a, b in zip(low, high, strict=True))
    log_z = torch.logsumexp(log_w, 0).item() + math.log(cell)
    return Grid(x, energy, torch.softmax(log_w, 0), log_z)
