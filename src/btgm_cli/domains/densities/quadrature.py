"""Boltzmann distributions in the plane by the trapezoidal rule: what runs are held against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.domains.densities.energy import System

INNER, ACROSS = 8, 1001
"""Points of a profile's quadrature in each bin, and across."""


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


def free_energy_along(
    grid: Grid,
    system: System,
    normal: Sequence[float],
    level: float,
    edges: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """F = −log p of r = a·x − level, the mean density over each bin, kT, shape (bins,).

    By the midpoint rule along r and the trapezoidal one across, over a strip twice as long as the
    rectangle of the grid.

    Args:
        grid: the Boltzmann distribution, whose log Z it takes.
        system: u, kT.
        normal: a.
        level: of the line that is r = 0.
        edges: of the bins, rising, shape (bins + 1,).
        temperature: T.
    """
    a = torch.tensor(normal, dtype=torch.double)
    low, high = grid.x[0], grid.x[-1]
    reach = (high - low).norm().item()
    t = torch.linspace(-reach, reach, ACROSS, dtype=torch.double)
    step = edges.double().diff() / INNER
    r = edges[:-1, None].double() + step[:, None] * (torch.arange(INNER) + 0.5)
    across = torch.stack([-a[1], a[0]]) / a.norm()
    middle = (low + high) / 2
    # The foot of the rectangle's middle on each line, so that the strip covers the rectangle.
    foot = middle + (r.flatten() + level - middle @ a)[:, None] * a / a.square().sum()
    x = (foot[:, None] + t[:, None] * across).view(-1, 2)
    with torch.no_grad():
        log_w = (-system(x) / temperature).view(*r.shape, ACROSS)
    log_mass = torch.logsumexp(log_w, (1, 2)) + torch.log(step * (t[1] - t[0]) / a.norm())
    return grid.log_z + edges.double().diff().log() - log_mass
