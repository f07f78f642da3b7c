"""P(f > t) from nothing but p and f: two ways up, and draws of all that they have found.

What tells the probability is drawn afresh, from proposals that are settled by then: the draws on
the way have made the proposals, and would flatter them. A way that has missed a region shows,
where the other has found it, by the halves of these draws that disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.tilt.exceedance import WeightedDraws, exceedance
from btgm_cli.truth.exceeding import OfPrior, Pooled, Source, drawn, joined
from btgm_cli.tuning.climb import EACH, Climb, Draw, Generators

WAYS = 2

OF_PRIOR = 0.05
"""Share of p's own among the draws: no weight exceeds 20."""

OF_LADDER = 0.15
"""Share of the proposals on the way, which are wider than those for the thresholds."""

COMMON = 0.3
"""Where every P is at least this, draws of p alone tell it best."""

ROUND = 2000
"""Draws that tell how many it takes."""

SLACK = 1.1
"""More draws than an error that is known badly seems to ask for."""

FEWEST = 100
"""Draws of a round."""

Told = Callable[[str], None]


@dataclass(frozen=True)
class Effort:
    """How far to go.

    Args:
        precision: relative standard error to reach.
        most: evaluations of f, at most, give or take a round.
    """

    precision: float = 0.02
    most: int = 200_000


@dataclass(frozen=True)
class Search:
    """Draws that tell P at every threshold that was reached.

    Args:
        pooled: of p, and of both ways' proposals.
        of_one: which sources are the first way's.
        evaluations: of f, with those on the ways.
        levels: the t of each probability that was asked for; NaN where none was found.
    """

    pooled: Pooled
    of_one: Sequence[int]
    evaluations: int
    levels: Sequence[float]

    def halves(self, pooled: Pooled) -> list[list[WeightedDraws]]:
        """Each way's draws, and a random half of all."""
        return [pooled.halves(self.of_one), pooled.random_halves()]


def searched(
    f: LatentCriterion,
    thresholds: Sequence[float],
    rare: Sequence[float],
    generators: Generators,
    effort: Effort | None = None,
    noises: int | None = None,
    sign: float = 1.0,
    told: Told = lambda text: None,
) -> Search:
    """Climb both ways, and draw until all probabilities are known well enough.

    Args:
        f: the latent criterion, with its model.
        thresholds: t, rising.
        rare: probabilities whose t is asked for, falling.
        generators: of everything random, by its purpose.
        effort: how far to go.
        noises: draws of x for each z, see `drawn`.
        sign: of f: −1 where low values are the rare ones, and t and P are those of −f.
        told: is told how it goes, line by line.
    """
    effort = effort or Effort()
    draw = partial(drawn, f, noises=noises, sign=sign)
    ways = [Climb(f.model, draw, partial(generators, way)) for way in range(WAYS)]
    levels: list[float] = []
    for number, way in enumerate(ways, 1):
        missed = [t for t in thresholds if not way.to(t)]
        levels = [way.to_rare(p) for p in rare]
        away = f"; nothing found above {missed[0]:.6g}" if missed else ""
        rungs = f"{len(way.sources) - 1} rungs"
        told(f"way {number}: {rungs}, {way.pool.evaluations:,} evaluations of f{away}")
    wanted = [*thresholds, *(t for t in levels if math.isfinite(t))]
    paid = sum(way.pool.evaluations for way in ways)
    sources, shares, of_one = _mixture(f.model, ways, wanted)
    spend = _Spend(wanted, effort.precision, max(effort.most - paid, EACH))
    pooled = _drawn(draw, sources, shares, partial(generators, "last"), spend)
    return Search(pooled, of_one, paid + pooled.evaluations, levels)


def _mixture(
    model: GenerativeModel, ways: Sequence[Climb], wanted: Sequence[float]
) -> tuple[list[Source], list[float], list[int]]:
    """p, each way's proposals and rungs, their shares of the draws, and which are the first's."""
    sources: list[Source] = [OfPrior(model)]
    weights: list[float] = [0.0]
    of_one: list[int] = []
    for number, way in enumerate(ways):
        start = len(sources)
        found, rungs = list(way.proposals.values()), way.sources[1:]
        for part, share in ((found, 1 - OF_LADDER), (rungs, OF_LADDER)):
            sources += part
            weights += [share / len(ways) / max(len(part), 1)] * len(part)
        of_one += range(start, len(sources)) if number == 0 else []
    known = [exceedance(way.pool.whole, t).probability for t in wanted for way in ways]
    if min(known, default=0.0) >= COMMON or len(sources) == 1:
        return sources, [1.0] + [0.0] * (len(sources) - 1), of_one
    rest = (1 - OF_PRIOR) / sum(weights)
    return sources, [OF_PRIOR, *(rest * weight for weight in weights[1:])], of_one


@dataclass(frozen=True)
class _Spend:
    """Until which error at which thresholds to draw, and how many draws at most."""

    wanted: Sequence[float]
    precision: float
    most: int


def _drawn(
    draw: Draw,
    sources: Sequence[Source],
    shares: Sequence[float],
    generators: Generators,
    spend: _Spend,
) -> Pooled:
    """Rounds of draws until the worst error is small enough, or nothing is left to spend."""

    def more(n: int, number: int) -> Pooled:
        counts = [math.ceil(n * share) for share in shares]
        return draw(sources=sources, counts=counts, generators=partial(generators, number))

    pooled = more(min(ROUND, spend.most), 0)
    for number in count(1):
        whole, spent = pooled.whole, len(pooled.source)
        errors = [exceedance(whole, t, with_tail=False).relative_se for t in spend.wanted]
        worst = max((error for error in errors if math.isfinite(error)), default=0.0)
        needed = math.ceil(spent * SLACK * (worst / spend.precision) ** 2)
        n = min(needed, spend.most) - spent
        if worst <= spend.precision or n < FEWEST:
            break
        pooled = joined(pooled, more(n, number))
    return pooled
