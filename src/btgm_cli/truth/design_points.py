"""Design points: where p is highest among all z with f ≥ t, one for each separate region.

Two draws are of one region if f ≥ t between them as well, or between others that link them: that
asks nothing of the distances of draws, which in many dimensions are all alike. From the likeliest
draw of a region some steps of Hasofer, Lind, Rackwitz and Fiessler lead to its mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BY_WEIGHT = 30
"""Draws above t that stand for all: a region with a thirtieth of P has one of them on average."""

BY_DENSITY = 10
"""The likeliest draws above t beside them: a near region may have little of P."""

BETWEEN = (0.5, 0.25, 0.75)
"""Where on the way from one draw to another f is asked for, in turn."""

STEPS = 12

STRIDES = (1.0, 0.5, 0.25, 0.1)
"""Shares of a step that are tried."""

OUTWARD = (1.0, 1.001, 1.01, 1.03, 1.1)
"""Factors of where a step leads, lest it end just within."""

DIFFERENCE = 0.05
"""Of z to both sides, for the slope of f, which may have no derivative."""

HALVINGS = 12
"""Of the way back to the border."""

SAME = 0.1
"""Points no farther apart than this, over their distance from 0 or over 1, are one."""

Values = Callable[[Tensor], Tensor]
"""Shape (n,) of z (n, D)."""


@dataclass(frozen=True)
class DesignPoint:
    """The likeliest point of one region.

    Args:
        z: shape (D,).
        f: ±f̂ there.
        log_p: nats.
        share: of P(±f > t): of the draws above t that are nearer to this point than to others.
    """

    z: Tensor
    f: float
    log_p: float
    share: float

    @property
    def distance(self) -> float:
        """|z|."""
        return float(self.z.norm())


def design_points(f: Values, log_p: Values, z: Tensor, y: Tensor, t: float) -> list[DesignPoint]:
    """The modes of p where f ≥ t, the one with the largest share first.

    Args:
        f: the criterion, without gradient.
        log_p: of the prior, nats.
        z: draws above t, of any mixture, shape (n, D).
        y: of each its part of P(f > t), shape (n,).
        t: threshold.

    Returns:
        Empty where f ≥ t at none of the draws that are looked at, as it may be where noise has
        brought them above.
    """
    chosen = z[_representatives(y, log_p(z))]
    chosen = chosen[f(chosen) >= t]
    if not len(chosen):
        return []
    starts = [own[log_p(own).argmax()] for own in _regions(f, chosen, t)]
    modes = _apart([_polished(f, log_p, start, t) for start in starts], log_p)
    nearest = torch.cdist(z.double(), modes.double()).argmin(-1)
    shares = torch.bincount(nearest, y.double(), minlength=len(modes)) / y.double().sum()
    numbers = zip(modes, f(modes), log_p(modes), shares, strict=True)
    points = [DesignPoint(at, *(float(n) for n in own)) for at, *own in numbers]
    return sorted(points, key=lambda point: -point.share)


def _representatives(y: Tensor, log_p: Tensor) -> Tensor:
    """Which draws stand for all: some by their part of P, and the likeliest."""
    cumulative = y.double().cumsum(0)
    at = (torch.arange(BY_WEIGHT, dtype=torch.double, device=y.device) + 0.5) / BY_WEIGHT
    by_weight = torch.searchsorted(cumulative, at * cumulative[-1])
    likeliest = log_p.topk(min(BY_DENSITY, len(y))).indices
    chosen: Tensor = torch.cat([by_weight, likeliest]).clamp(max=len(y) - 1).unique()
    return chosen


def _regions(f: Values, z: Tensor, t: float) -> list[Tensor]:
    """The draws z (n, D), in as many parts as there are separate regions."""
    regions, left = [], z
    while len(left):
        own, new, left = [left[:1]], [left[0]], left[1:]
        while new and len(left):
            linked = _linked(f, new.pop(), left, t)
            own.append(left[linked])
            new += left[linked].unbind()
            left = left[~linked]
        regions.append(torch.cat(own))
    return regions


def _linked(f: Values, one: Tensor, others: Tensor, t: float) -> Tensor:
    """Is f ≥ t all the way from z (D,) to others (n, D)? Shape (n,)."""
    linked = torch.ones(len(others), dtype=torch.bool, device=others.device)
    for share in BETWEEN:
        if linked.any():
            linked[linked.clone()] = f(one + share * (others[linked] - one)) >= t
    return linked


def _polished(f: Values, log_p: Values, z: Tensor, t: float) -> Tensor:
    """The likeliest z (D,) with f ≥ t that steps from this one lead to."""
    for _ in range(STEPS):
        slope = _slope(f, z)
        square = slope.square().sum()
        if not (square > 0 and torch.isfinite(square)):
            break
        ahead = slope * ((slope @ z + t - f(z[None])[0]) / square).to(z)
        tried = torch.stack([z + stride * (ahead - z) for stride in STRIDES])
        tried = torch.cat([factor * tried for factor in OUTWARD])
        tried = tried[f(tried) >= t]
        tried = tried[log_p(tried) > log_p(z[None])]
        if not len(tried):
            break
        z = tried[log_p(tried).argmax()]
    return _at_border(f, log_p, z, t)


def _slope(f: Values, z: Tensor) -> Tensor:
    """Central differences of f at z (D,), shape (D,)."""
    steps = DIFFERENCE * torch.eye(len(z), dtype=z.dtype, device=z.device)
    ahead, behind = f(torch.cat([z + steps, z - steps])).chunk(2)
    slope: Tensor = (ahead - behind) / (2 * DIFFERENCE)
    return slope.to(z)


def _at_border(f: Values, log_p: Values, z: Tensor, t: float) -> Tensor:
    """From z (D,) towards 0 as far as f ≥ t, if it is likelier there."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if f(middle * z[None])[0] >= t else (middle, high)
    nearer = high * z
    return nearer if log_p(nearer[None]) > log_p(z[None]) else z


def _apart(found: Sequence[Tensor], log_p: Values) -> Tensor:
    """Those that are not the same as a likelier one, shape (regions, D)."""
    z = torch.stack(list(found))
    kept: list[Tensor] = []
    for one in z[log_p(z).argsort(descending=True)]:
        reach = SAME * max(float(one.norm()), 1.0)
        if all(float((one - other).norm()) > reach for other in kept):
            kept.append(one)
    return torch.stack(kept)
