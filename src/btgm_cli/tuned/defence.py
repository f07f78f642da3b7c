"""What corrected draws are chosen from: the tuned model's, and a share ε of p's own.

    q'(z) = (1 − ε) q̂(z) + ε p(z)

Where learned acceptance takes f for far too low it lets hardly anything through, and the little
that comes weighs hundreds; no number of q̂'s draws tells of what has not come yet. p's own draws
nothing refuses. So no weight exceeds that of rejection over ε (a defensive mixture, Hesterberg
1995), whatever q̂ is like:

    p e^{βf} / (q' Z) ≤ e^{βf} / (ε Z)

Guests, other tuned models of the same x, may take part as well: each has as much of what p leaves
as q̂, and only makes q' larger where they draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.tilt.estimates import log_mean_weight
from btgm_cli.tuned.guests import Guest
from btgm_cli.tuned.model import TunedModel

LEAST_SHARE = 0.05
"""ε where q̂ is good: one draw in twenty."""

SHARES = [LEAST_SHARE * step for step in range(1, 11)]

DEAREST_SHARE = 0.25
"""A share beyond this is not taken for the sake of the bound alone."""

SLACK = 1.2
"""The bound aimed at is smaller by this factor, for the errors of log Z and of the largest f."""

N_SCOUT = 2000
"""Draws of each of q̂ and p that tell which share serves best."""


class Defended:
    """q', of a tuned model.

    Args:
        tuned: q̂.
        share: ε; 0 and no guests is q̂ itself.
        guests: other tuned models of the same x.
    """

    def __init__(self, tuned: TunedModel, share: float, guests: Sequence[Guest] = ()) -> None:
        self.tuned, self.share, self.guests = tuned, share, tuple(guests)

    @property
    def of_each(self) -> float:
        """The share of q̂, and of each guest."""
        return (1 - self.share) / (1 + len(self.guests))

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """n draws z (n, D) in random order, with log q̂ (not log q'), nats, shape (n,)."""
        if self.share == 0 and not self.guests:
            return self.tuned.draw(n, generator)
        device = generator.device
        # Systematic: as many of each as its share, give or take one, and in the mean exactly.
        start = torch.rand((), generator=generator, device=device, dtype=torch.double).item()
        shares = accumulate([self.share] + [self.of_each] * len(self.guests))
        ends = [0, *(math.floor(share * n + start) for share in shares), n]
        of_p, *of_guests, of_own = (end - begin for begin, end in pairwise(ends))
        own, log_own = self.tuned.draw(of_own, generator)
        of_others = [self.tuned.model.sample_prior(of_p, generator)]
        for guest, count in zip(self.guests, of_guests, strict=True):
            of_others.append(guest.draw(count, generator))
        others = torch.cat(of_others)
        z = torch.cat([own, others])
        log_q = torch.cat([log_own, self.tuned.log_prob(others)])
        order = torch.randperm(n, generator=generator, device=device)
        return z[order], log_q[order]

    def log_density(self, z: Tensor, log_q: Tensor, log_p: Tensor) -> Tensor:
        """log q' in nats (n,), at z (n, D), from log q̂ and log p there."""
        if not self.guests:
            return mixed(log_q, log_p, self.share)
        each = [log_q, *(guest.log_prob(z).double() for guest in self.guests)]
        of_models = torch.logsumexp(torch.stack(each), 0) - math.log(len(each))
        return mixed(of_models, log_p, self.share)


def mixed(log_q: Tensor, log_p: Tensor, share: float) -> Tensor:
    """log of (1 − ε) q + ε p, shape (n,), nats."""
    if share == 0:
        return log_q
    return torch.logaddexp(log_q + math.log1p(-share), log_p + math.log(share))


def log_weight_bound(largest_tilt: float, log_z: float, share: float = LEAST_SHARE) -> float:
    """Log of e^{βf} / (ε Z), nats, at the largest βf; infinite without a share of p."""
    return largest_tilt - log_z - math.log(share) if share else math.inf


def scouted_share(
    tuned: TunedModel,
    f: LatentCriterion,
    beta: float,
    largest_weight: float,
    generator: torch.Generator,
) -> float:
    """The share of p by draws of both, `N_SCOUT` of each; see `best_share`."""
    own, log_own = tuned.draw(N_SCOUT, generator)
    from_p = f.model.sample_prior(N_SCOUT, generator)
    z = torch.cat([own, from_p])
    log_q = torch.cat([log_own, tuned.log_prob(from_p)]).double()
    log_p = f.model.prior_log_prob(z).double()
    return best_share(beta * evaluate(f, z).double(), log_q, log_p, largest_weight)


def best_share(tilt: Tensor, log_q: Tensor, log_p: Tensor, largest_weight: float) -> float:
    """Which of `SHARES` makes the mean square of the weights least: the most effective draws.

    Of those alone that keep all weights below `largest_weight`, if `DEAREST_SHARE` does.

    Args:
        tilt: βf on draws of which half are q̂'s and half p's, shape (n,), nats.
        log_q: log q̂ there.
        log_p: log p there.
        largest_weight: that there should be.
    """
    by_halves = mixed(log_q, log_p, 0.5)
    log_w = log_p + tilt - by_halves
    log_z, _ = log_mean_weight(log_w)
    needed = SLACK * (tilt.max() - log_z).exp().item() / largest_weight
    least = needed if needed <= DEAREST_SHARE else LEAST_SHARE
    shares = [share for share in SHARES if share >= least]
    # E_q' w² = E_h (p e^{βf})² / (h q'), h the mixture by halves that was drawn from.
    twice = log_w + log_p + tilt
    squares = [torch.logsumexp(twice - mixed(log_q, log_p, share), 0) for share in shares]
    return shares[int(torch.stack(squares).argmin())]
