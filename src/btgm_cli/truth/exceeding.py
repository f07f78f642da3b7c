"""Draws of several sources at once that tell P(f > t), and when not to believe what they tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from btgm_cli.core.blame import name_of
from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.errors import SettingError
from btgm_cli.core.latent_criterion import CHUNK, F_SAMPLES, LatentCriterion
from btgm_cli.tilt.estimates import MIN_ESS, largest_reliable_k
from btgm_cli.tilt.exceedance import PRIOR, Exceedance, WeightedDraws, exceedance
from btgm_cli.truth.trust import ERRORS

HALF_SEES = 25.0
"""Effective draws above t; a half with fewer has nothing to object."""


class Source(Protocol):
    """What can be drawn from and has a density; a `TunedModel` is one."""

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n draws z (n, D) with log q (n,), nats."""
        ...

    def log_prob(self, z: Tensor) -> Tensor:
        """log q (n,) of any z (n, D), nats."""
        ...


@dataclass(frozen=True)
class OfPrior:
    """p itself as a source."""

    model: GenerativeModel

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n draws z (n, D) of p with log p (n,), nats."""
        z = self.model.sample_prior(n, generator)
        return z, self.model.prior_log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p (n,), nats."""
        return self.model.prior_log_prob(z)


class Trust(StrEnum):
    """May the interval of a probability be believed?"""

    OK = "ok"
    UPPER_BOUND = "upper_bound"
    FEW_DRAWS = "too_few_draws"
    HEAVY_WEIGHTS = "heavy_weights"
    DISAGREE = "halves_disagree"
    LOST = "lost_mode"


@dataclass(frozen=True)
class Judged:
    """A probability, whether to believe it, and why not; the reason of `ok` is empty."""

    found: Exceedance
    trust: Trust
    reason: str = ""


@dataclass(frozen=True)
class Pooled:
    """Draws of several sources, the first of which is p.

    Args:
        z: shape (n, D).
        f: criterion with fresh noise, or −f, shape (n, k).
        log_ratios: log q − log p of each source, shape (n, sources), nats.
        source: which source each is of, shape (n,).
        density_se: relative error of the sources' constants, the largest.
    """

    z: Tensor
    f: Tensor
    log_ratios: Tensor
    source: Tensor
    density_se: float = 0.0

    @property
    def evaluations(self) -> int:
        """Of f̂: all noises of one z together, as in what a run costs."""
        return len(self.f)

    @cached_property
    def whole(self) -> WeightedDraws:
        """All draws."""
        return self.of(torch.ones_like(self.source, dtype=torch.bool))

    def of(self, chosen: Tensor) -> WeightedDraws:
        """The draws that a mask (n,) is true of, weighted as the mixture of their sources."""
        source, ratios = self.source[chosen], self.log_ratios[chosen]
        counts = torch.bincount(source, minlength=ratios.shape[1]).double()
        log_m = torch.logsumexp(ratios + (counts / counts.sum()).log(), -1)
        return WeightedDraws(-log_m, self.f[chosen], source, self.density_se)

    def halves(self, of_one: Sequence[int]) -> list[WeightedDraws]:
        """Some sources' draws with half of p's, and the others' with the other half.

        Args:
            of_one: the sources of the first half, without p.
        """
        even = torch.arange(len(self.source), device=self.source.device) % 2 == 0
        own = torch.isin(self.source, torch.tensor(list(of_one), device=self.source.device))
        prior = self.source == PRIOR
        return [self.of(prior & even | own), self.of(~(prior & even | own))]

    def random_halves(self) -> list[WeightedDraws]:
        """Every other draw, and the rest."""
        even = torch.arange(len(self.source), device=self.source.device) % 2 == 0
        return [self.of(even), self.of(~even)]

    def with_source(self, ratio: Tensor) -> Pooled:
        """The same draws, one more source known, by its log q − log p on them (n,), nats."""
        ratios = torch.cat([self.log_ratios, ratio[:, None]], -1)
        return Pooled(self.z, self.f, ratios, self.source, self.density_se)


def drawn(
    f: LatentCriterion,
    sources: Sequence[Source],
    counts: Sequence[int],
    noises: int | None,
    generators: Callable[[int, int], torch.Generator],
    density_se: float = 0.0,
    sign: float = 1.0,
) -> Pooled:
    """So many draws of each source, with ±f of fresh noise and every source's density.

    Args:
        f: the latent criterion, with its model.
        sources: p first.
        counts: draws of each.
        noises: draws of x for each z; None is `F_SAMPLES`. A decoder without noise has one.
        generators: of one block, by its source and number: each block serves itself alone.
        density_se: see `Pooled`.
        sign: of f: −1 where low values are the rare ones.

    Raises:
        SettingError: f is NaN, so that nobody knows on which side of a t it lies.
    """
    noises = (noises or F_SAMPLES) if f.is_stochastic else 1
    rows: tuple[Tensor, ...] = ()
    at = 0
    for index, count in enumerate(counts):
        for number, start in enumerate(range(0, count, CHUNK)):
            generator = generators(index, number)
            z, log_q = sources[index].draw(min(CHUNK, count - start), generator)
            log_p = f.model.prior_log_prob(z).double()
            ratios = [
                log_q if other == index else source.log_prob(z)
                for other, source in enumerate(sources)
            ]
            values = sign * f.noisy(z, noises, generator)
            if missing := int(values.isnan().sum()):
                fault = f"f is NaN for {missing:,} of {values.numel():,} values"
                raise SettingError("criterion", name_of(f.criterion), fault)
            each = torch.stack([ratio.double() - log_p for ratio in ratios], -1)
            block = (z, values, each, torch.full((len(z),), index, device=z.device))
            # In place: what is kept between blocks would split up the memory that they free.
            rows = rows or tuple(part.new_empty(sum(counts), *part.shape[1:]) for part in block)
            for row, part in zip(rows, block, strict=True):
                row[at : at + len(z)] = part
            at += len(z)
    z, values, each, source = rows
    return Pooled(z, values, each, source, density_se)


def joined(one: Pooled, other: Pooled) -> Pooled:
    """All draws of both, of the same sources."""
    names = ("z", "f", "log_ratios", "source")
    z, f, ratios, source = (torch.cat([getattr(p, name) for p in (one, other)]) for name in names)
    return Pooled(z, f, ratios, source, max(one.density_se, other.density_se))


def judged(
    whole: WeightedDraws, t: float, halves: Sequence[Sequence[WeightedDraws]], lost: str = ""
) -> Judged:
    """P(f > t), and whether to believe its interval.

    Args:
        whole: all draws.
        t: threshold.
        halves: pairs of halves of the draws; the first pair of which both see what is above is
            the one that has to agree.
        lost: why the draws above may lack a part; empty where nothing tells of it.
    """
    found = exceedance(whole, t)
    if found.probability == 0:
        return Judged(found, Trust.UPPER_BOUND, "no draw of any source lies beyond")
    if found.effective < MIN_ESS:
        reason = f"{found.effective:.0f} effective draws lie beyond, and {MIN_ESS:.0f} are needed"
        return Judged(found, Trust.FEW_DRAWS, reason)
    if found.pareto_k > (limit := largest_reliable_k(found.hits)):
        reason = f"Pareto k of the weights beyond is {found.pareto_k:.2f}, above {limit:.2f}"
        return Judged(found, Trust.HEAVY_WEIGHTS, reason)
    if reason := _disagreement(t, halves):
        return Judged(found, Trust.DISAGREE, reason)
    return Judged(found, Trust.LOST, lost) if lost else Judged(found, Trust.OK)


def _disagreement(t: float, pairs: Sequence[Sequence[WeightedDraws]]) -> str:
    """Why two independent halves cannot both be right; empty where they may."""
    for pair in pairs:
        one, other = (exceedance(half, t) for half in pair)
        if min(one.effective, other.effective) < HALF_SEES:
            continue
        apart = abs(math.log(one.probability / other.probability))
        if apart > ERRORS * math.hypot(one.relative_se, other.relative_se):
            told = [f"{half.probability:.3g} ± {half.relative_se:.1%}" for half in (one, other)]
            return f"{told[0]} by one half, {told[1]} by the other"
        return ""
    return ""
