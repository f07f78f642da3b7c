"""The way up to a rare event: thresholds in turn, a proposal fitted to what lies above each.

A tilt with a large β would do, where E_q f is about t; but f may have any scale and tail, and what
lies above a threshold is the same under any increasing function of f.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.tilt.exceedance import effective, return_level
from btgm_cli.truth.exceeding import OfPrior, Pooled, Source, joined
from btgm_cli.tuned.normals import fitted, like

FIRST = 2000
"""Draws of p that a way begins with: what they have not seen of the middle, it never looks for."""

EACH = 1000
"""Draws of each proposal on the way."""

WANTED = 150.0
"""Effective draws above a threshold that a proposal is fitted to."""

MOST_RUNGS = 60

PATIENCE = 4
"""Rungs without a higher one, after which there is no way on."""

WIDER = 0.2
"""A proposal's standard deviations are larger by this over √D, lest its tails be too thin. By 15 %
in 100 dimensions instead, it took ten times as many draws for the same error."""

FARTHER = 1.5
"""The second source is as p, its standard deviations larger by this over √D: what lies apart, and
is not on the way up from the middle, it may see. Without it both ways to RP110 of otbenchmark took
the nearer of two regions, which has one hundredth of P, in one of eight repeats."""

Generators = Callable[..., torch.Generator]
"""A generator for each purpose."""

Draw = Callable[..., Pooled]
"""`truth.exceeding.drawn`, but for the sources, how many of each, and the generators."""


class Climb:
    """One way up, with all that it has paid for.

    Every draw stays in the pool, weighted as one of the mixture of all proposals so far, so that a
    region which the last of them has lost is not lost (Cornuet et al. 2012).

    Args:
        model: the frozen generator.
        draw: draws of sources with f.
        generators: of everything random.

    Attributes:
        sources: p, and the proposals on the way.
        proposals: the one for each threshold that was reached.
        pool: all draws so far.
    """

    def __init__(self, model: GenerativeModel, draw: Draw, generators: Generators) -> None:
        self._model, self._draw, self._generators = model, draw, generators
        self._levels: list[float] = []
        self.sources: list[Source] = [OfPrior(model)]
        self.proposals: dict[float, Source] = {}
        self.pool = self._drawn(FIRST)
        reach = 1 + FARTHER / math.sqrt(model.latent_dim)
        self._add(like(self.pool.z).wider(reach))

    def to(self, t: float) -> bool:
        """Climb until a proposal for t has been drawn from; false where none can be found."""
        before = len(self._levels)
        for _ in range(MOST_RUNGS):
            level = self._reach(t)
            if level == t and t in self._levels[before:]:
                self.proposals[t] = self._fit(t)
                return True
            if self._is_stuck(before):
                return False
            self._rise(level)
        return False

    def to_rare(self, probability: float) -> float:
        """Climb until P(f > t) is about that; returns the t, NaN where none can be found."""
        before = len(self._levels)
        for _ in range(MOST_RUNGS):
            t, _, _ = return_level(self.pool.whole, probability)
            if math.isfinite(t) and self._effective(t) >= WANTED:
                return t if self.to(t) else math.nan
            if self._is_stuck(before):
                break
            self._rise(self._reach(math.inf))
        return math.nan

    def _effective(self, t: float) -> float:
        return effective(self.pool.whole.above(t))

    def _reach(self, t: float) -> float:
        """The highest threshold up to t that as many effective draws as are wanted are above."""
        if self._effective(t) >= WANTED:
            return t
        values = self.pool.f.amax(-1).unique()
        values = values[values < t]
        low, high = 0, len(values)
        while high - low > 1:
            middle = (low + high) // 2
            enough = self._effective(values[middle].item()) >= WANTED
            low, high = (middle, high) if enough else (low, middle)
        return values[low].item() if len(values) else -math.inf

    def _is_stuck(self, before: int) -> bool:
        levels = self._levels[before:]
        return len(levels) > PATIENCE and max(levels[-PATIENCE:]) <= max(levels[:-PATIENCE])

    def _fit(self, level: float) -> Source:
        y = self.pool.whole.above(level)
        generator = self._generators("fit", len(self.sources))
        wider = 1 + WIDER / math.sqrt(self.pool.z.shape[1])
        return fitted(self.pool.z, y.log(), generator).wider(wider)

    def _rise(self, level: float) -> None:
        """Fit a proposal to what lies above a level, and draw from it."""
        self._add(self._fit(level))
        self._levels.append(level)

    def _add(self, source: Source) -> None:
        """Draw from one more source."""
        self.sources.append(source)
        log_p = self._model.prior_log_prob(self.pool.z).double()
        ratio = self.sources[-1].log_prob(self.pool.z).double() - log_p
        self.pool = joined(self.pool.with_source(ratio), self._drawn(EACH))

    def _drawn(self, n: int) -> Pooled:
        """Draws of the last source."""
        counts = [0] * (len(self.sources) - 1) + [n]
        return self._draw(sources=self.sources, counts=counts, generators=self._generators)
