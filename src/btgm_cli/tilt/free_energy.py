"""Free energies in kT from weighted draws, and Bennett's acceptance ratio, with their errors.

A free energy is −log of a probability. Errors are by the delta method; draws are taken to be
independent, so that stratified ones err less than is told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.tilt.bisection import bisect, half

HALVINGS = 200
"""Of the bracket of a free energy: as far as float64 goes."""


@dataclass(frozen=True)
class Profile:
    """F(r) = −log p(r) of a coordinate r, p its density: ∫ e^{−F} dr = 1 over all r.

    Args:
        edges: of the bins, shape (bins + 1,), in the coordinate's unit.
        free_energy: of each bin's mean density, kT, shape (bins,); infinite where no draw fell.
        error: its standard error, kT; NaN there.
        effective: how many effective draws fell into each bin.
    """

    edges: Tensor
    free_energy: Tensor
    error: Tensor
    effective: Tensor


@dataclass(frozen=True)
class Difference:
    """F(above) − F(below) = −log P(above) / P(below) of the sides of a split, kT.

    Args:
        value: kT; infinite where a side has no draw.
        error: its standard error.
        above: P(above), by the weights.
        effective: the least number of effective draws on a side.
    """

    value: float
    error: float
    above: float
    effective: float


def profile(values: Tensor, log_weights: Tensor, edges: Tensor) -> Profile:
    """The profile along a coordinate from weighted draws.

    Args:
        values: of the coordinate, shape (n,).
        log_weights: up to a constant, shape (n,), nats.
        edges: of the bins, rising, shape (bins + 1,).
    """
    w, n = _normalized(log_weights), len(values)
    values, edges = values.double(), edges.double()
    bins = len(edges) - 1
    at = torch.bucketize(values, edges, right=True) - 1
    inside = (at >= 0) & (at < bins)
    mass = torch.zeros(bins, dtype=torch.double).index_add_(0, at[inside], w[inside]) / n
    square = torch.zeros(bins, dtype=torch.double).index_add_(0, at[inside], w[inside] ** 2) / n
    # Of w (1_b − P_b) / P_b, whose mean is 0.
    var = square / mass**2 * (1 - 2 * mass) + w.square().mean()
    return Profile(
        edges=edges,
        free_energy=torch.log(edges.diff()) - torch.log(mass),
        error=torch.sqrt(var / n),
        effective=n * mass**2 / square.clamp(min=torch.finfo(torch.double).tiny),
    )


def difference(values: Tensor, log_weights: Tensor, split: float) -> Difference:
    """ΔF between the two sides of a split, from weighted draws; arguments as of `profile`."""
    w = _normalized(log_weights)
    above = values.double() > split
    shares = [(w * side).mean().item() for side in (above, ~above)]
    effective = [_effective(w[side]) for side in (above, ~above)]
    if not min(shares) > 0:
        sign = -1 if shares[0] > 0 else 1
        return Difference(sign * math.inf, math.nan, shares[0], min(effective))
    influence = w * (above / shares[0] - (~above) / shares[1])
    error = influence.std().item() / math.sqrt(len(w))
    value = math.log(shares[1]) - math.log(shares[0])
    return Difference(value, error, shares[0], min(effective))


def acceptance_ratio(
    forward: Tensor, reverse: Tensor, independent: float | None = None
) -> tuple[float, float]:
    """F₁ − F₀ in kT by Bennett's acceptance ratio, and its standard error.

    Bennett, *Efficient Estimation of Free Energy Differences from Monte Carlo Data* (1976).

    Args:
        forward: u₁ − u₀ on draws of state 0, shape (n,), kT.
        reverse: u₀ − u₁ on draws of state 1, shape (m,), kT; infinite where 0 has nothing.
        independent: how many independent draws the m are worth; all by default.

    Raises:
        ValueError: no draws, or a NaN.
    """
    forward, reverse = forward.double(), reverse.double()
    if not len(forward) or not len(reverse) or torch.cat([forward, reverse]).isnan().any():
        raise ValueError("works must be numbers, and at least one each way")
    n, m = len(forward), len(reverse) if independent is None else independent
    log_ratio = math.log(n / m)

    def accepted(free_energy: float) -> tuple[Tensor, Tensor]:
        return (
            torch.sigmoid(-(log_ratio + forward - free_energy)),
            torch.sigmoid(-(-log_ratio + reverse + free_energy)),
        )

    def too_low(free_energy: float) -> bool:
        there, back = accepted(free_energy)
        return bool(n * there.mean() < m * back.mean())

    ends = torch.cat([forward, -reverse])
    ends = ends[torch.isfinite(ends)]
    reach = 1 + abs(log_ratio)
    low, high = ends.min().item() - reach, ends.max().item() + reach
    value = half(*bisect(too_low, low, high, HALVINGS))
    there, back = accepted(value)
    error = math.sqrt(_relative_variance(there) / n + _relative_variance(back) / m)
    return value, error


def _relative_variance(values: Tensor) -> float:
    """Of values that are not negative; infinite where all are 0."""
    mean = values.mean().item()
    return values.var(correction=0).item() / mean**2 if mean > 0 else math.inf


def _normalized(log_weights: Tensor) -> Tensor:
    """Weights of mean 1, float64."""
    log_weights = log_weights.double()
    return torch.softmax(log_weights, 0) * len(log_weights)


def _effective(weights: Tensor) -> float:
    """Kish's number of effective draws; 0 where there is no weight."""
    square = weights.square().sum().item()
    return weights.sum().item() ** 2 / square if square > 0 else 0.0
