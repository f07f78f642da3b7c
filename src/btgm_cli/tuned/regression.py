"""Fitting s(z), the network of the learned acceptance, to values of f̂ that have been paid for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from btgm_cli.tuned.acceptance import Acceptance

Pairs = tuple[Tensor, Tensor]
"""z (n, D) and f (n,)."""

PRIOR_SHARE = 0.35
"""Share of p's draws in each batch; the others were asked for."""

CLIMBED_SHARE = 0.3
"""Share of what a sampler met on its way to the tilt, where one was on its way."""

BATCH, FIRST_RATE, RATE = 512, 8e-3, 6e-3

WEIGHT_DECAY = 0.1
"""AdamW's. Without it s forgets in wide spaces what it was not asked: at 32 dimensions p·exp(βs)
was 0.152 nats from the tilt at β = 1 and the least weight was a seventh; with it 0.134, a half."""

LEAST_WEIGHT = 0.03
"""In the fit, of a pair that is refused whatever s says there."""


class Pool:
    """All pairs (z, f) that have been paid for: p's own draws, and those asked for since.

    Args:
        prior: draws of p with their f.
        asked: what was asked for before.
        climbed: what a sampler has met on its way to the tilt; None where none was on its way.
    """

    def __init__(
        self, prior: Pairs, asked: Sequence[Pairs] = (), climbed: Pairs | None = None
    ) -> None:
        self.prior, self.asked, self.climbed = prior, list(asked), climbed

    @property
    def size(self) -> int:
        """Pairs of all kinds."""
        return sum(len(f) for _, f in self._known)

    def add(self, pairs: Pairs) -> None:
        """Keep what was asked for."""
        self.asked.append(pairs)

    def sources(self) -> list[tuple[Pairs, int]]:
        """Where a batch comes from, with how many of each."""
        found = []
        if self.climbed is not None:
            share = CLIMBED_SHARE if self.asked else 1 - PRIOR_SHARE
            found.append((self.climbed, round(share * BATCH)))
        if self.asked:
            share = 1 - PRIOR_SHARE - (0.0 if self.climbed is None else CLIMBED_SHARE)
            found.append((joined(self.asked), round(share * BATCH)))
        return [(self.prior, BATCH - sum(n for _, n in found)), *found]

    @property
    def is_finite(self) -> bool:
        """Is f a number wherever it was asked?"""
        return all(bool(torch.isfinite(f).all()) for _, f in self._known)

    @property
    def _known(self) -> list[Pairs]:
        return [self.prior, *self.asked, *([] if self.climbed is None else [self.climbed])]


def fit(
    acceptance: Acceptance,
    pool: Pool,
    beta: float,
    steps: int,
    generator: torch.Generator,
    typical: float | None = None,
) -> None:
    """Fit s, in place, to the pool: Adam on Huber's loss of β(s − f), where q_β has mass.

    What lies far below the tilt's own f, by s and by f alike, is refused in any case, and counts
    for less; errors far beyond a nat are all alike.

    Args:
        acceptance: one that never was fitted takes its scale from p's draws.
        pool: what has been paid for.
        beta: the tilt.
        steps: of Adam.
        generator: of the batches.
        typical: E f of the tilt, where it is known better than by the pool.
    """
    fresh = acceptance.beta.item() == 0.0
    if fresh:
        acceptance.center.copy_(pool.prior[1].double().mean())
        acceptance.scale.copy_(pool.prior[1].double().std().clamp(min=1e-12))
    acceptance.beta.fill_(beta)
    top = _typical(pool, beta) if typical is None or math.isnan(typical) else typical
    sources = pool.sources()
    acceptance.nets.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        acceptance.nets.parameters(), fused=True, weight_decay=WEIGHT_DECAY
    )
    rate = one_cycle(optimizer, FIRST_RATE if fresh else RATE, steps)
    for _ in range(steps):
        z, f = joined([some(pairs, n, generator) for pairs, n in sources])
        loss = _loss(acceptance.each(z), f, beta, top)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    acceptance.nets.requires_grad_(False)  # the flow's gradient passes through s, and stops there


def _typical(pool: Pool, beta: float) -> float:
    """The f that draws of the tilt have: of those asked last, or by the weights of p's."""
    if pool.asked:
        return pool.asked[-1][1].double().mean().item()
    f = pool.prior[1].double()
    return (torch.softmax(beta * f, 0) * f).sum().item()


def joined(parts: list[Pairs]) -> Pairs:
    """Pairs of several sources as one."""
    return torch.cat([z for z, _ in parts]), torch.cat([f for _, f in parts])


def some(pairs: Pairs, n: int, generator: torch.Generator) -> Pairs:
    """n pairs, chosen with repeats."""
    z, f = pairs
    rows = torch.randint(len(f), (n,), generator=generator, device=z.device)
    return z[rows], f[rows]


def one_cycle(
    optimizer: torch.optim.Optimizer, peak: float, steps: int
) -> torch.optim.lr_scheduler.OneCycleLR:
    """A learning rate that rises to its peak over a tenth of the steps, and falls."""
    total = max(steps, 3)
    rising = max(0.1, 2 / total)  # a rise or a fall of no step divides by zero
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, peak, total_steps=total, pct_start=rising
    )


def _loss(s: Tensor, f: Tensor, beta: float, top: float) -> Tensor:
    with torch.no_grad():
        above = beta * (torch.maximum(s, f) - top)
        weight = (above / 2).exp().clamp(LEAST_WEIGHT, 1.0)
    error = nn.functional.huber_loss(beta * s, beta * f.expand_as(s), delta=0.5, reduction="none")
    return (weight * error).mean(-1).sum()  # each network by itself
