"""Views met at once: the tilt closest to p that grants them, from weighted draws.

Mean and probability are means of f and of an indicator, so that λ is `multipliers.solve`'s. A tail
mean of c is E 1{f > v} = a and E max(f − v, 0) = a (c − v) at its own quantile v, which is not
known: it is where the KL of the two is least (Meucci 2011, *Fully Flexible Extreme Views*). There

    ∂KL/∂v = (e^μ − 1) × the density of q just below v,

with μ the multiplier of the indicator, is 0: the closest tilt has μ = 0, the hinge max(f − v, 0)
alone. So v is looked for where the tilt by the hinge leaves a share a beyond it. Pure functions,
float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from btgm_cli.core.views import Kind, Sign, View
from btgm_cli.tilt.bisection import bisect, half
from btgm_cli.tilt.estimates import effective_sample_size
from btgm_cli.tilt.multipliers import Bounds, solve

SEEN = 50
"""Draws beyond a cut that a step may rest on."""

HALVINGS = 16
"""Of the bracket of a quantile."""

HALVINGS_OF_WAY = 6
"""Of the way to views that the draws cannot tell all of."""

EXACT = 1e-4
"""Deviations of a feature that its mean may be off, on the draws."""

NEAR = 0.05
"""Of the share of a tail, how far off may be what lies beyond its cut, which is a draw's own."""

SWEEPS = 4
"""Over the quantiles of several tails, each in turn."""

SETTLED = 1e-4
"""Deviations of f that a quantile may still move."""


@dataclass(frozen=True)
class Tilted:
    """A tilt by views, p exp(Σ λⱼ gⱼ).

    Args:
        multipliers: λⱼ, shape (k,).
        cuts: where gⱼ is cut, see `View.feature`; 0 for a mean. Shape (k,).
    """

    multipliers: Tensor
    cuts: Tensor

    @classmethod
    def none(cls, views: Sequence[View]) -> Tilted:
        """p itself."""
        cuts = [view.at if view.kind is Kind.PROBABILITY else 0.0 for view in views]
        return cls(torch.zeros(len(views)).double(), torch.tensor(cuts).double())


@dataclass(frozen=True)
class Viewpoint:
    """Draws of any distribution, as the views see them.

    Args:
        values: of each view's criterion, shape (n, noises, k).
        log_weights: log p − log of what was drawn from, shape (n,), nats.
    """

    values: Tensor
    log_weights: Tensor

    def features(self, views: Sequence[View], cuts: Tensor) -> Tensor:
        """gⱼ, the mean over noise, shape (n, k), float64."""
        each = zip(views, cuts.tolist(), strict=True)
        found = [
            view.feature(self.values[..., j].double(), cut).mean(-1)
            for j, (view, cut) in enumerate(each)
        ]
        return torch.stack(found, -1)

    def by(self, views: Sequence[View], tilted: Tilted) -> Weighed:
        """The draws weighted to a tilt."""
        tilt = self.features(views, tilted.cuts) @ tilted.multipliers
        return Weighed(self.values.double(), self.log_weights.double() + tilt)

    def apart(self, views: Sequence[View], one: Tilted, other: Tilted) -> float:
        """KL of two tilts one way and back, nats: the two means of what their logs differ by."""
        here, there = self.by(views, one), self.by(views, other)
        step = there.log_weights - here.log_weights
        return float((there.weights - here.weights) @ step)


@dataclass(frozen=True)
class Weighed:
    """Weighted draws.

    Args:
        values: of each view's criterion, shape (n, noises, k), float64.
        log_weights: shape (n,), nats.
    """

    values: Tensor
    log_weights: Tensor

    @cached_property
    def weights(self) -> Tensor:
        """Of sum 1, shape (n,)."""
        return torch.softmax(self.log_weights, 0)

    @property
    def effective(self) -> float:
        """The share of the draws that is effective."""
        return effective_sample_size(self.log_weights) / len(self.log_weights)

    def told(self, j: int, view: View) -> tuple[float, float]:
        """What view j is of, and its standard error."""
        f = self.values[..., j]
        if view.kind is Kind.TAIL_MEAN:  # flat in v at the quantile, whose error costs nothing
            cut = self.quantile(j, view.at)
            each = cut + view.feature(f, cut).mean(-1) / view.at
        else:
            each = view.feature(f, view.at).mean(-1)
        mean = (self.weights * each).sum()
        error = (self.weights * (each - mean)).square().sum().sqrt()
        return mean.item(), error.item()

    def quantile(self, j: int, share: float) -> float:
        """What so large a share of view j's criterion is above."""
        f, noises = self.values[..., j], self.values.shape[1]
        each = (self.weights / noises)[:, None].expand_as(f).flatten()
        order = f.flatten().argsort(descending=True)
        above = each[order].cumsum(0)
        index = int(torch.searchsorted(above, share))
        return f.flatten()[order[min(index, len(order) - 1)]].item()

    def share_above(self, j: int, cut: float) -> float:
        """P(f > cut) of view j's criterion."""
        return float((self.weights * (self.values[..., j] > cut).double().mean(-1)).sum())


def settle(seen: Viewpoint, views: Sequence[View], start: Tilted) -> Tilted:
    """The tilt that grants all views, or as much of the way to them as the draws can tell.

    Args:
        seen: draws, with weights of p.
        views: what is asked.
        start: a tilt that the draws are near.
    """
    now = seen.by(views, start)
    found = _granting(seen, views, start, now)
    if found:
        return found
    told = [now.told(j, view)[0] for j, view in enumerate(views)]

    def at(share: float) -> Tilted | None:
        nearer = [_nearer(view, value, share) for view, value in zip(views, told, strict=True)]
        return _granting(seen, nearer, start, now)

    share, _ = bisect(lambda share: at(share) is not None, 0.0, 1.0, HALVINGS_OF_WAY)
    return (at(share) if share else None) or start


def _nearer(view: View, now: float, share: float) -> View:
    """What is asked, at a share of the way from what there is; as it is where that grants it."""
    if view.low <= now <= view.high:
        return view
    return replace(view, value=now + share * (view.value - now))


def _granting(
    seen: Viewpoint, views: Sequence[View], start: Tilted, now: Weighed
) -> Tilted | None:
    """The tilt that grants all views on the draws, cut where they see enough, if one does."""
    found = replace(start, cuts=_first_cuts(now, views))
    tails = [j for j, view in enumerate(views) if view.kind is Kind.TAIL_MEAN]
    for _ in range(SWEEPS if len(tails) > 1 else 1):
        before = found.cuts
        for j in tails:
            found = _with_quantile(seen, views, found, start, j, _bracket(now, views[j], j))
        if ((found.cuts - before).abs() <= SETTLED * now.values.std((0, 1))).all():
            break
    found = _solved(seen, views, found.cuts, start)
    return found if _grants(seen, views, found) else None


def _grants(seen: Viewpoint, views: Sequence[View], found: Tilted) -> bool:
    """Are all features' means as they should be, and the shares beyond quantiles?"""
    tilt, features = seen.by(views, found), seen.features(views, found.cuts)
    means, spread = tilt.weights @ features, features.std(0)
    each = zip(views, found.cuts.tolist(), means.tolist(), spread.tolist(), strict=True)
    for j, (view, cut, mean, deviation) in enumerate(each):
        excess = mean - view.goal(cut)
        short, over = view.sign is not Sign.AT_MOST, view.sign is not Sign.AT_LEAST
        if (short and excess < -EXACT * deviation) or (over and excess > EXACT * deviation):
            return False
        costs = view.kind is Kind.TAIL_MEAN and found.multipliers[j] != 0
        if costs and abs(tilt.share_above(j, cut) / view.at - 1) > NEAR:
            return False
    return True


def _first_cuts(now: Weighed, views: Sequence[View]) -> Tensor:
    """t, or as far towards it as enough draws are beyond; the quantiles as they are."""
    cuts = []
    for j, view in enumerate(views):
        cut = 0.0
        if view.kind is Kind.TAIL_MEAN:
            cut = now.quantile(j, view.at)
        elif view.kind is Kind.PROBABILITY:
            cut = _threshold(now, view, j)
        cuts.append(cut)
    return torch.tensor(cuts).double()


def _threshold(now: Weighed, view: View, j: int) -> float:
    """t, or where enough draws are on the side that is to gain.

    There the view still asks for more on that side than there is: half of it would do.
    """
    share, f = now.share_above(j, view.at), now.values[..., j]
    few = min(SEEN, len(f))
    if share < view.low:
        reach = f.amax(-1).topk(few).values[-1].item()
        return min(view.at, max(reach, now.quantile(j, view.value / 2)))
    if share > view.high:
        reach = f.amin(-1).topk(few, largest=False).values[-1].item()
        return max(view.at, min(reach, now.quantile(j, (1 + view.value) / 2)))
    return view.at


def _bracket(now: Weighed, view: View, j: int) -> tuple[float, float]:
    """Where the quantile of a tail is looked for: within what the draws see, below c."""
    f = now.values[..., j].flatten()
    highest = now.values[..., j].amax(-1)
    reach = highest.topk(min(SEEN, len(highest))).values[-1].item()
    high = min(view.value, max(reach, now.quantile(j, view.at)))
    return min(f.min().item(), high), high


def _with_quantile(
    seen: Viewpoint,
    views: Sequence[View],
    found: Tilted,
    start: Tilted,
    j: int,
    bracket: tuple[float, float],
) -> Tilted:
    """The same with the cut of a tail where the tilt leaves its share beyond."""

    def at(cut: float) -> Tilted:
        cuts = found.cuts.clone()
        cuts[j] = cut
        return _solved(seen, views, cuts, start)

    def below(cut: float) -> bool:
        return seen.by(views, at(cut)).share_above(j, cut) > views[j].at

    return at(half(*bisect(below, *bracket, HALVINGS)))


def _solved(seen: Viewpoint, views: Sequence[View], cuts: Tensor, start: Tilted) -> Tilted:
    """λ at these cuts."""
    features = seen.features(views, cuts)
    goal = torch.tensor([view.goal(c) for view, c in zip(views, cuts.tolist(), strict=True)])
    near = seen.log_weights.double() + features @ start.multipliers
    found = solve(features, goal.double(), start.multipliers, _bounds(views), near)
    return Tilted(found, cuts)


def _bounds(views: Sequence[View]) -> Bounds:
    least = [0.0 if view.sign is Sign.AT_LEAST else -math.inf for view in views]
    most = [0.0 if view.sign is Sign.AT_MOST else math.inf for view in views]
    return Bounds(torch.tensor(least).double(), torch.tensor(most).double())
