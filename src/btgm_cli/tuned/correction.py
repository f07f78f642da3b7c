"""Corrected draws: from q̂, which is close to the tilt, to the tilt itself.

Each way uses the weights w = p e^{βf} / q' with the true f, q' being q̂ with a share of p's own
draws that bounds them (`tuned.defence`). It is exact up to Monte-Carlo error as far as q' reaches:
a mode that q̂ has lost, and p hardly ever finds, no correction brings back. Draws come in blocks,
so that any number of them needs the memory of one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cached_property

import torch
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.tilt.estimates import (
    MIN_ESS,
    effective_sample_size,
    largest_reliable_k,
    log_mean_weight,
    pareto_k,
    systematic,
)
from btgm_cli.tuned.defence import N_SCOUT, Defended, log_weight_bound, scouted_share
from btgm_cli.tuned.guests import Guest
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuned.thinning import Thinning, thinning_for

N_PILOT = 10_000
"""Draws that tell how to correct, before the first draw is handed out."""

HARMLESS = 1 / MIN_ESS
"""n weights of mean 1, none larger than this times n, leave `MIN_ESS` draws: E w² is no more."""

LARGEST_SHARE = 0.01
"""Of all draws that are handed out, one may come as often as this."""

BEYOND = 10.0
"""A weight is taken to be at most so many times the pilot's largest, if its bound is no less."""


class Correct(StrEnum):
    """How draws are corrected."""

    NONE = "none"
    RESAMPLE = "resample"
    REJECTION = "rejection"
    MCMC = "mcmc"


@dataclass(frozen=True)
class Draws:
    """n draws: x (n, *X), z (n, D), and of shape (n,) log q̂, the log weight and f.

    The log weight is log of p e^{βf} / (q̂ Z(β)), nats; draws that are corrected have 0.
    """

    x: Tensor
    z: Tensor
    log_q: Tensor
    log_weight: Tensor
    f: Tensor

    def __len__(self) -> int:
        return len(self.f)

    def at(self, chosen: Tensor) -> Draws:
        """The draws at these indices, or where this mask is true."""
        return Draws(*(getattr(self, name)[chosen] for name in FIELDS))

    def equally_weighted(self) -> Draws:
        """The same draws, as draws of the tilt."""
        return replace(self, log_weight=torch.zeros_like(self.log_weight))


FIELDS = [field.name for field in fields(Draws)]


def joined(parts: Sequence[Draws]) -> Draws:
    """The draws of all parts, in order."""
    return Draws(*(torch.cat([getattr(part, name) for part in parts]) for name in FIELDS))


@dataclass(frozen=True)
class Pilot:
    """What draws of the proposals tell about their weights.

    Args:
        log_z: log Z(β) by these weights, nats.
        ess_fraction: effective share of the draws.
        pareto_k: shape k̂ of the weights' tail.
        log_weights: those of mean 1, shape (n,).
        reliable: may corrected draws be believed?
    """

    log_z: float
    ess_fraction: float
    pareto_k: float
    log_weights: Tensor
    reliable: bool

    @property
    def largest(self) -> float:
        """The largest log weight."""
        return self.log_weights.max().item()

    @property
    def draws_each(self) -> float:
        """Proposals to one that rejection keeps, expected; more if a larger weight turns up."""
        return self.log_weights.max().exp().item()

    @cached_property
    def thinning(self) -> Thinning:
        """How long chains run before they are read again, and what they remember even so."""
        return thinning_for(self.log_weights)


class Corrector:
    """Blocks of draws of q̂, or of the tilt by way of q̂.

    Args:
        tuned: q̂.
        f: the latent criterion f̂.
        beta: the tilt.
        correct: how; draws that are not corrected are q̂'s alone.
        generator: of everything random.
        block: draws decoded at once.
        n: how many of its draws will be weighted as one, where they are more than the pilot's.
        among: draw in equal parts from q̂, p and these, other tuned models of the same x; None
            takes q̂ and the share of p that leaves the most effective draws.

    Attributes:
        log_weight_bound: log of the largest weight that there can be, nats, if no f exceeds the
            largest that the pilot met; infinite for q̂ alone.
    """

    def __init__(
        self,
        tuned: TunedModel,
        f: LatentCriterion,
        beta: float,
        correct: Correct,
        generator: torch.Generator,
        block: int = 1000,
        n: int = N_PILOT,
        among: Sequence[Guest] | None = None,
    ) -> None:
        self.f, self.beta, self.correct = f, beta, correct
        self.generator, self.block = generator, block
        self._largest = HARMLESS * max(n, N_PILOT)
        self.f_evals = 0
        self._best = -math.inf
        share = 0.0 if among is None else 1 / (2 + len(among))
        if among is None and correct is not Correct.NONE:
            share = scouted_share(tuned, f, beta, self._largest, generator)
            self.f_evals += 2 * N_SCOUT
        self.proposals = Defended(tuned, share, among or ())
        self.pilot = self._fly()
        self.log_weight_bound = self._bound(self.pilot.log_z)

    def _bound(self, log_z: float) -> float:
        return log_weight_bound(self.beta * self._best, log_z, self.proposals.share)

    def draws(self, n: int) -> Iterator[Draws]:
        """An endless stream of blocks, each of at most a few times `block` draws.

        Args:
            n: how many will be taken. Of few, each is chosen from more proposals, lest one of
                them be a large part of all.
        """
        ways = {
            Correct.NONE: self.weighted,
            Correct.RESAMPLE: lambda: self._resampled(n),
            Correct.REJECTION: self._rejected,
            Correct.MCMC: self._chains,
        }
        return ways[self.correct]()

    def weighted(self) -> Iterator[Draws]:
        """An endless stream of blocks of proposals with their weights, for means over the tilt."""
        while True:
            yield self._block()

    def _propose(self, n: int) -> Draws:
        """n weighted proposals."""
        z, log_q = self.proposals.draw(n, self.generator)
        f, x = self.f.with_draws(z, self.generator)
        self.f_evals += n
        self._best = max(self._best, f.max().item())
        log_p = self.f.model.prior_log_prob(z).double()
        log_proposed = self.proposals.log_density(z, log_q.double(), log_p)
        return Draws(x, z, log_q, self.beta * f.double() + log_p - log_proposed, f)

    def _block(self) -> Draws:
        """A block of proposals with normalized weights."""
        draws = self._propose(self.block)
        return replace(draws, log_weight=draws.log_weight - self.pilot.log_z)

    def _fly(self) -> Pilot:
        parts = [self._propose(self.block).log_weight for _ in range(-(-N_PILOT // self.block))]
        log_w = torch.cat(parts)
        log_z, _ = log_mean_weight(log_w)
        k, n = pareto_k(log_w), log_w.numel()
        # A lump of weights just below a low bound is no Pareto tail, whatever its k̂.
        bounded = self._bound(log_z) <= math.log(self._largest)
        return Pilot(
            log_z=log_z,
            ess_fraction=effective_sample_size(log_w) / n,
            pareto_k=k,
            log_weights=log_w - log_z,
            reliable=bounded or k <= largest_reliable_k(n),
        )

    def _resampled(self, n: int) -> Iterator[Draws]:
        """Each draw is repeated w times a rate in the mean: unbiased, whatever the block.

        The rate is the effective share of the draws, at which few are repeated, or that at which
        the largest weight repeats one `LARGEST_SHARE` of n times.
        """
        heaviest = min(self.log_weight_bound, self.pilot.largest + math.log(BEYOND))
        rate = min(self.pilot.ess_fraction, max(LARGEST_SHARE * n, 1.0) * math.exp(-heaviest))
        while True:
            draws = self._block()
            expected = rate * draws.log_weight.exp()
            start = torch.rand((), generator=self.generator, device=expected.device)
            edges = torch.floor(expected.cumsum(0) + start.double())
            copies = torch.diff(edges, prepend=edges.new_zeros(1)).long()
            chosen = torch.repeat_interleave(torch.arange(len(draws)).to(copies.device), copies)
            yield draws.at(chosen).equally_weighted()

    def _rejected(self) -> Iterator[Draws]:
        """Kept with probability w / c, c the largest weight so far (Caffo, Booth & Davis 2002).

        Independent draws that never repeat. A kept one takes c proposals, however many those
        are: see `Pilot.draws_each` before asking.
        """
        largest = self.pilot.largest
        while True:
            draws = self._block()
            largest = max(largest, draws.log_weight.max().item())
            keep = self._uniform(len(draws)).log() < draws.log_weight - largest
            yield draws.at(keep).equally_weighted()

    def _chains(self) -> Iterator[Draws]:
        """Independence Metropolis–Hastings: a block of chains, read when they have moved on.

        Between two readings all but a hundredth of a chain's memory is gone, unless that takes
        more steps than are made: see `Pilot.thinning`.
        """
        first = self._block()
        weights = torch.softmax(first.log_weight, 0)
        state = first.at(systematic(weights, len(first), self.generator))
        while True:
            for _ in range(self.pilot.thinning.steps):
                state = self._step(state)
            yield state.equally_weighted()

    def _step(self, state: Draws) -> Draws:
        proposal = self._block()
        accepted = self._uniform(len(state)).log() < proposal.log_weight - state.log_weight
        both = {}
        for name in FIELDS:
            old, new = getattr(state, name), getattr(proposal, name)
            mask = accepted.view(-1, *[1] * (old.dim() - 1))
            both[name] = torch.where(mask, new, old)
        return Draws(**both)

    def _uniform(self, n: int) -> Tensor:
        return torch.rand(
            n, generator=self.generator, device=self.generator.device, dtype=torch.double
        )
