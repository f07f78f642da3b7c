"""Rounds of simulations: where the posterior of the last emulator is, and a new emulator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.seeds import derived_generator, derived_seed
from btgm_cli.domains.simulators.emulator import Emulator, Simulations
from btgm_cli.domains.simulators.kept import Kept
from btgm_cli.domains.simulators.model import Parameters
from btgm_cli.domains.simulators.priors import Prior
from btgm_cli.truth.moves import CrankNicolson
from btgm_cli.truth.smc import TemperedSMC

HALVES = ("first", "second")
"""Two chains of rounds that share nothing, so that their difference is an error."""

PLACES = 24
"""In each round of each half."""

ROUNDS = 5
"""Each has twice the units of the one before."""

FEWEST_UNITS = 20
"""At one place: their covariance is needed."""

PARTICLES = 125
"""In each of eight populations that stand for an emulator's posterior."""

WIDE = 0.25
"""β of the tilts, wider than the posterior, that a third of the places are of."""

ENOUGH_SHIFT, ENOUGH_SHARE, ENOUGH_WIDENING = 0.3, 0.85, 0.15
"""Between the halves, and in each: no more rounds where all is better than that."""


@dataclass(frozen=True)
class Observed:
    """The data that are to be explained.

    Args:
        statistics: mean summary statistics, shape (S,).
        size: units.
    """

    statistics: Tensor
    size: int


@dataclass(frozen=True)
class Agreement:
    """Two posteriors, by emulators of separate simulations.

    Args:
        shift: the largest difference of their means of a parameter, in posterior deviations.
        ratio: the ratio of their deviations that is furthest from one, as 1 or more.
        share: effective share of the draws of one for the other.
        widening: share that the error of either emulator has of the variance of the statistics.
    """

    shift: float
    ratio: float
    share: float
    widening: float

    @property
    def is_close(self) -> bool:
        """Is another round not worth its simulations?"""
        close = self.shift <= ENOUGH_SHIFT and self.share >= ENOUGH_SHARE
        sharp = self.widening <= ENOUGH_WIDENING
        return close and sharp and self.ratio <= 1 + ENOUGH_SHIFT / 2


@dataclass(frozen=True)
class Posterior:
    """An emulator's posterior.

    Args:
        emulator: of the statistics.
        theta: draws, shape (n, P), in double precision.
        u: the same on scales of order one.
        wide: draws of the tilt at `WIDE`, shape (n, P).
        f: log-likelihood of the draws, shape (n,).
    """

    emulator: Emulator
    theta: Tensor
    u: Tensor
    wide: Tensor
    f: Tensor


class Likelihood:
    """log-likelihood of θ by an emulator, as a criterion: x = θ (n, P) to (n,).

    Args:
        prior: over θ.
        emulator: of the statistics.
        observed: the data's.
    """

    def __init__(self, prior: Prior, emulator: Emulator, observed: Observed) -> None:
        self.prior, self.emulator, self.observed = prior, emulator, observed

    def __call__(self, x: Tensor) -> Tensor:
        """log-likelihood, nats, shape (n,)."""
        u = self.prior.scaled(x)
        f = self.emulator.log_likelihood(u, self.observed.statistics, self.observed.size)
        return f.to(x)


@dataclass(frozen=True)
class Fitted:
    """What all rounds left.

    Args:
        emulator: of all simulations.
        agreement: of the two halves.
        best: largest log-likelihood of the posterior's draws, nats.
        misfit: smallest χ² of the data's statistics there.
        rounds: how many.
        units: simulated.
        theta: draws of the posterior by all simulations, shape (n, P).
    """

    emulator: Emulator
    agreement: Agreement
    best: float
    misfit: float
    rounds: int
    units: int
    theta: Tensor


class Rounds:
    """Both chains.

    Args:
        model: x = θ.
        kept: where simulations come from.
        observed: the data's statistics.
        most: units of all simulations.
        seed: of everything random.
    """

    def __init__(
        self, model: Parameters, kept: Kept, observed: Observed, most: int, seed: int
    ) -> None:
        self.model, self.kept, self.observed = model, kept, observed
        self.most, self.seed = most, seed

    def run(self) -> Fitted:
        """Simulate and fit until the halves agree, or `most` is spent."""
        chains: list[list[Simulations]] = [[], []]
        last: list[Posterior | None] = [None, None]
        for number in range(ROUNDS):
            n = self.units(number)
            for k, half in enumerate(HALVES):
                theta = self._places(last[k], half, number)
                seeds = [derived_seed(self.seed, half, number, i) for i in range(len(theta))]
                told = f"simulations, round {number + 1}, {half} half"
                chains[k].append(self.kept.at(theta, n, seeds, told))
                last[k] = self.posterior([chains[k]], half, number)
            first, second = last
            assert first
            assert second
            agreement = compared(first, second, self.observed)
            if number and agreement.is_close:
                break
        whole = self.posterior(chains, "whole", 0)
        units = sum(int(part.n.sum()) for chain in chains for part in chain)
        emulator, observed = whole.emulator, self.observed
        chi2 = emulator.chi2(whole.u, observed.statistics, observed.size)
        best, misfit = whole.f.max().item(), chi2.min().item()
        return Fitted(emulator, agreement, best, misfit, number + 1, units, whole.theta)

    def units(self, number: int) -> int:
        """At each place of a round."""
        share = 2**number / (2**ROUNDS - 1)
        return max(int(self.most * share / (len(HALVES) * PLACES)), FEWEST_UNITS)

    def posterior(self, chains: Sequence[Sequence[Simulations]], *purpose: object) -> Posterior:
        """The posterior by all simulations of these chains."""
        seen = [part for chain in chains for part in chain]
        recent = [part is chain[-1] for chain in chains for part in chain]
        weights = zip(seen, recent, strict=True)
        near = torch.cat([torch.full(part.n.shape, float(new)).double() for part, new in weights])
        together = seen[0]
        for part in seen[1:]:
            together = together + part
        emulator = Emulator.of(together, near)
        return self._drawn(emulator, *purpose)

    def _drawn(self, emulator: Emulator, *purpose: object) -> Posterior:
        prior = self.model.simulator.prior
        f = LatentCriterion(self.model, Likelihood(prior, emulator, self.observed))
        generator = derived_generator(self.seed, "posterior", *purpose)
        # f costs next to nothing: no network has to learn it first.
        moves = CrankNicolson(self.model)
        smc = TemperedSMC(self.model, partial(evaluate, f), moves, generator, particles=PARTICLES)
        particles = smc.particles(1.0, 8 * PARTICLES, generator)
        wide = smc.particles(WIDE, 8 * PARTICLES, generator)
        theta = prior.of_latent(particles.z.double())
        of_wide = prior.of_latent(wide.z.double())
        return Posterior(emulator, theta, prior.scaled(theta), of_wide, particles.f.double())

    def _places(self, last: Posterior | None, half: str, number: int) -> Tensor:
        """θ (`PLACES`, P) of a round: of the prior, or of the last posterior and around it."""
        prior = self.model.simulator.prior
        seed = derived_seed(self.seed, half, number, "places")
        if last is None:
            even = SobolEngine(len(prior), scramble=True, seed=seed % 2**31).draw(PLACES)
            inside = even.double().clamp(1e-4, 1 - 1e-4)
            return prior.of_latent(torch.special.ndtri(inside))
        generator = derived_generator(seed, "chosen")
        few = PLACES // 3
        of_posterior = torch.randperm(len(last.theta), generator=generator)[: PLACES - few]
        of_wide = torch.randperm(len(last.wide), generator=generator)[:few]
        return torch.cat([last.theta[of_posterior], last.wide[of_wide]])


def compared(first: Posterior, second: Posterior, observed: Observed) -> Agreement:
    """How far two posteriors are from each other."""
    spread = torch.cat([first.theta.std(0)[None], second.theta.std(0)[None]])
    shift = (first.theta.mean(0) - second.theta.mean(0)).abs() / spread.mean(0)
    log_ratio = (spread[0] / spread[1]).log().abs()
    shares = []
    for one, other in ((first, second), (second, first)):
        f = other.emulator.log_likelihood(one.u, observed.statistics, observed.size)
        log_w = (f - one.f).double()
        log_ess = 2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0)
        shares.append(log_ess.exp().item() / len(log_w))
    widening = max(one.emulator.widening(one.u, observed.size) for one in (first, second))
    ratio = math.exp(log_ratio.max().item())
    return Agreement(shift.max().item(), ratio, min(shares), widening)
