"""P(f > t) from draws of any mixture, weighted to p: with an interval, and as a return level.

A draw of the mixture m counts y = (p/m) · 1{f > t}, whose mean is P(f > t) whatever m is, as far
as m reaches. Where the decoder is stochastic the indicator is a mean over noises of its own draw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from btgm_cli.tilt.bisection import bisect, half
from btgm_cli.tilt.estimates import pareto_k

LEVEL = 0.95
"""Of all intervals here."""

HALVINGS = 60
"""Of the bracket of a limit."""

FEWEST_OF_A_TAIL = 25
"""Draws; no Pareto tail can be fitted to fewer."""

PRIOR = 0
"""The source that is p itself, whose share bounds all weights."""


@dataclass(frozen=True)
class WeightedDraws:
    """Draws of a mixture m of several sources, of each as many as its share of m.

    Args:
        log_weights: log p − log m, shape (n,), nats.
        f: criterion on them, shape (n, k): for k noises of the decoder.
        source: which source each is of, shape (n,), whole numbers from 0.
        density_se: relative error of m, where a constant of a source is estimated.
    """

    log_weights: Tensor
    f: Tensor
    source: Tensor
    density_se: float = 0.0

    def __len__(self) -> int:
        return len(self.log_weights)

    @cached_property
    def weights(self) -> Tensor:
        """p/m, shape (n,), float64."""
        return self.log_weights.double().exp()

    def of(self, chosen: Tensor) -> WeightedDraws:
        """The draws that a mask (n,) is true of, as draws of the same mixture."""
        kept = (self.log_weights[chosen], self.f[chosen], self.source[chosen])
        return WeightedDraws(*kept, self.density_se)

    def above(self, t: float) -> Tensor:
        """y of each draw: its weight, times its share of noises with f > t; shape (n,)."""
        return self.weights * (self.f > t).sum(-1) / self.f.shape[-1]


@dataclass(frozen=True)
class Exceedance:
    """P(f > t) at one t, as well as the draws tell it.

    Args:
        t: threshold, in the criterion's unit.
        probability: P(f > t).
        relative_se: its standard error over it; infinite where no draw is above.
        low: lower limit of the 95 % interval.
        high: upper limit; an upper bound where no draw is above.
        hits: draws above t.
        effective: how many of them are effective.
        pareto_k: shape k̂ of their weights' tail; −inf where they are alike, +inf of too few.
    """

    t: float
    probability: float
    relative_se: float
    low: float
    high: float
    hits: int
    effective: float
    pareto_k: float


def exceedance(draws: WeightedDraws, t: float, with_tail: bool = True) -> Exceedance:
    """P(f > t) with its interval.

    Above one half it is told by the rest, P(f ≤ t), which errs less.

    Args:
        draws: all that there are.
        t: threshold.
        with_tail: fit the weights' tail, which takes longer than all else; k̂ is NaN without.
    """
    y = draws.above(t)
    p, se = _mean(draws, y)
    if p > 0.5:
        rest = draws.weights - y
        p_rest, se_rest = _mean(draws, rest)
        low, high = _limits(p_rest, se_rest, _largest(rest), draws)
        p, se = max(1 - p_rest, 0.0), se_rest
        low, high = max(1 - high, 0.0), min(1 - low, 1.0)
    else:
        low, high = _limits(p, se, _largest(y), draws)
    hits = y[y > 0]
    return Exceedance(
        t=t,
        probability=p,
        relative_se=math.hypot(se / p, draws.density_se) if p > 0 else math.inf,
        low=low,
        high=min(high, 1.0),
        hits=len(hits),
        effective=effective(hits),
        pareto_k=_tail(hits) if with_tail else math.nan,
    )


def limits(p: float, se: float, step: float, level: float = LEVEL) -> tuple[float, float]:
    """Both limits of a mean of few, skewed and never negative terms.

    The gamma distributions of Fay & Feuer (1997), whose mean and variance are those of the mean
    and, for the upper limit, those with one more draw of the largest weight; the limits are the
    mid-P ones of Fay & Kim (2017), of both gammas by halves. Of equal weights they are the mid-P
    limits of a Poisson count, of many draws the normal ones.

    Args:
        p: the mean.
        se: its standard error.
        step: by how much one more draw of the largest weight would raise it.
        level: of the interval.
    """
    # Imported here: it takes a third of a second, which `btgm --help` need not wait for.
    from scipy.special import gammainc, gammaincinv  # noqa: PLC0415

    if not p > 0:
        return 0.0, math.inf
    if not se > 0:
        return p, p
    first, second = _gamma(p, se**2), _gamma(p + step, se**2 + step**2)

    def too_low(share: float, x: float) -> bool:
        below = [gammainc(shape, x / scale) for shape, scale in (first, second)]
        return float(np.mean(below)) < share

    top = max(float(scale * gammaincinv(shape, 0.9999)) for shape, scale in (first, second))
    wanted = (0.5 - level / 2, 0.5 + level / 2)
    low, high = (half(*bisect(partial(too_low, share), 0.0, top, HALVINGS)) for share in wanted)
    return low, high


def unseen(n: int) -> float:
    """The upper limit of P, on one side, where none of n draws of p fell above; 1 for none."""
    return 1 - (1 - LEVEL) ** (1 / n) if n else 1.0


def return_level(draws: WeightedDraws, probability: float) -> tuple[float, float, float]:
    """The t with P(f > t) = probability, and the limits of its interval.

    The limits are where those of P(f > t) cross the probability (a test inverted).

    Returns:
        t and both limits; NaN where the draws do not reach so far.
    """
    f, y = draws.f.double(), draws.weights[:, None].expand_as(draws.f) / draws.f.shape[-1]
    order = f.flatten().argsort(descending=True)
    values = f.flatten()[order]
    tail = y.flatten()[order].cumsum(0) / len(draws)

    def at(index: int) -> Exceedance:
        return exceedance(draws, values[index].item(), with_tail=False)

    def crossing(of: str) -> float:
        """The largest value at which the estimate, or a limit of it, is at least that."""
        low, high = 0, len(values) - 1
        if getattr(at(high), of) < probability:
            return math.nan
        while high - low > 1:
            middle = (low + high) // 2
            reached = getattr(at(middle), of) >= probability
            low, high = (low, middle) if reached else (middle, high)
        return values[high].item()

    if not tail[0] < probability <= tail[-1]:
        return math.nan, math.nan, math.nan
    index = int(torch.searchsorted(tail, probability))
    return values[index].item(), crossing("low"), crossing("high")


def effective(y: Tensor) -> float:
    """Kish's number of effective draws among y (n,)."""
    square = y.square().sum()
    return (y.sum().square() / square).item() if square > 0 else 0.0


def _mean(draws: WeightedDraws, y: Tensor) -> tuple[float, float]:
    """The mean of y (n,) over the mixture and its error: sources have as many draws as they do."""
    n, variance = len(y), 0.0
    for source in draws.source.unique().tolist():
        own = y[draws.source == source]
        spread = own.var().item() if len(own) > 1 else own.square().sum().item()
        variance += len(own) * spread
    return y.mean().item(), math.sqrt(variance) / n


def _limits(p: float, se: float, largest: float, draws: WeightedDraws) -> tuple[float, float]:
    if not p > 0:
        return 0.0, unseen(int((draws.source == PRIOR).sum()))
    se = math.hypot(se, p * draws.density_se)
    return limits(p, se, largest / len(draws))


def _tail(hits: Tensor) -> float:
    """Shape k̂ of the tail of weights (m,)."""
    return pareto_k(hits.log()) if len(hits) >= FEWEST_OF_A_TAIL else math.inf


def _largest(y: Tensor) -> float:
    return y.max().item()


def _gamma(mean: float, variance: float) -> tuple[float, float]:
    """Shape and scale of the gamma distribution with this mean and variance."""
    return mean**2 / variance, variance / mean
