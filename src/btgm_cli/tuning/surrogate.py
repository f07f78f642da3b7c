"""Learning f before the flow does: s(z) is fitted to what has been paid for, and stands for f̂.

A training on f̂ itself decodes every draw of every step. Instead s, the network of the learned
acceptance, is fitted to draws of p, which the reference has paid for; the flow follows s, which
decodes nothing and has a gradient even where f̂ has none; then f̂ is asked on draws of the tilt by
s, and s is fitted again. Whatever is asked once serves every later β.

s is no more than a guide: every figure of q̂ is measured with f̂ itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from btgm_cli.core.contracts import GenerativeModel
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import State
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.mixture import Mixture
from btgm_cli.tuned.model import BLOCK
from btgm_cli.tuning.fitting import Pairs, one_cycle, some, weighted

ROUNDS = 2
"""At each β, f̂ is asked so many times, and s and the flow learn from the answers."""

PRIOR_SHARE = 0.35
"""Share of p's draws in each batch; the others were asked for."""

BATCH, FIRST_RATE, RATE = 1024, 8e-3, 6e-3

OFFERED = 10
"""Draws of which one is asked, chosen by its weight for the tilt by s."""

LEAST_WEIGHT = 0.03
"""In the fit, of a pair that is refused whatever s says there."""


class Pool:
    """All pairs (z, f) that have been paid for: p's own draws, and those asked for since.

    Args:
        prior: draws of p with their f.
        asked: what was asked for before.
    """

    def __init__(self, prior: Pairs, asked: Sequence[Pairs] = ()) -> None:
        self.prior, self.asked = prior, list(asked)

    def add(self, pairs: Pairs) -> None:
        """Keep what was asked for."""
        self.asked.append(pairs)

    def sources(self) -> list[tuple[Pairs, int]]:
        """Where a batch comes from, with how many of each."""
        if not self.asked:
            return [(self.prior, BATCH)]
        of_prior = round(PRIOR_SHARE * BATCH)
        return [(self.prior, of_prior), (joined(self.asked), BATCH - of_prior)]

    @property
    def is_finite(self) -> bool:
        """Is f a number wherever it was asked?"""
        return all(bool(torch.isfinite(f).all()) for _, f in [self.prior, *self.asked])


class Surrogate:
    """s in place of f̂: for the training of the flow.

    Args:
        model: the frozen generator, for p.
        acceptance: whose network is s.
    """

    def __init__(self, model: GenerativeModel, acceptance: Acceptance) -> None:
        self.model, self.acceptance = model, acceptance

    def __call__(self, z: Tensor) -> Tensor:
        """s(z), shape (n,), differentiable in z."""
        return self.acceptance.predict(z)


def fit(
    acceptance: Acceptance, pool: Pool, beta: float, steps: int, generator: torch.Generator
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
    """
    fresh = acceptance.beta.item() == 0.0
    if fresh:
        acceptance.center.copy_(pool.prior[1].double().mean())
        acceptance.scale.copy_(pool.prior[1].double().std().clamp(min=1e-12))
    acceptance.beta.fill_(beta)
    top, sources = typical(pool, beta), pool.sources()
    acceptance.net.requires_grad_(True)
    optimizer = torch.optim.Adam(acceptance.net.parameters(), fused=True)
    rate = one_cycle(optimizer, FIRST_RATE if fresh else RATE, steps)
    for _ in range(steps):
        z, f = joined([some(pairs, n, generator) for pairs, n in sources])
        loss = _loss(acceptance.predict(z), f, beta, top)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    acceptance.net.requires_grad_(False)  # the flow's gradient passes through s, and stops there


def ask(
    acceptance: Acceptance,
    f: LatentCriterion,
    mixture: Mixture,
    n: int,
    generator: torch.Generator,
) -> Pairs:
    """n draws of the tilt by s with their f̂, without repeats.

    They are chosen among draws of the mixture m, by the weight p e^{βs} / m (Efraimidis & Spirakis
    2006).
    """
    blocks = [
        weighted(acceptance, mixture, min(BLOCK, OFFERED * n - done), generator)
        for done in range(0, OFFERED * n, BLOCK)
    ]
    z = torch.cat([offered.z for offered, _ in blocks])
    log_weight = torch.cat([log_weight for _, log_weight in blocks])
    uniform = torch.rand(len(z), generator=generator, device=z.device, dtype=torch.double)
    chosen = (log_weight - (-uniform.log()).log()).topk(n).indices
    return z[chosen], evaluate(f, z[chosen])


def typical(pool: Pool, beta: float) -> float:
    """The f that draws of the tilt have: of those asked last, or by the weights of p's."""
    if pool.asked:
        return pool.asked[-1][1].double().mean().item()
    f = pool.prior[1].double()
    return (torch.softmax(beta * f, 0) * f).sum().item()


def joined(parts: list[Pairs]) -> Pairs:
    """Pairs of several sources as one."""
    return torch.cat([z for z, _ in parts]), torch.cat([f for _, f in parts])


def state_of(parts: list[Pairs]) -> State:
    """Pairs as a state to be kept; empty if there are none."""
    if not parts:
        return {}
    z, f = joined(parts)
    return {"z": z.detach().cpu().clone(), "f": f.detach().cpu().clone()}


def _loss(s: Tensor, f: Tensor, beta: float, top: float) -> Tensor:
    with torch.no_grad():
        above = beta * (torch.maximum(s, f) - top)
        weight = (above / 2).exp().clamp(LEAST_WEIGHT, 1.0)
    error = nn.functional.huber_loss(beta * s, beta * f, delta=0.5, reduction="none")
    return (weight * error).mean()
