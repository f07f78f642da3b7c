"""Rounds of simulations: where the tilt by the last round's f is, and f once more, by all."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from btgm_cli.core.contracts import Criterion
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.seeds import derived_generator, derived_seed
from btgm_cli.domains.simulators.model import Parameters
from btgm_cli.tilt.estimates import effective_sample_size
from btgm_cli.truth.moves import CrankNicolson
from btgm_cli.truth.smc import TemperedSMC

HALVES = ("first", "second")
"""Two chains of rounds that share nothing, so that their difference is an error."""

WIDER = 3
"""One in so many places is of a tilt that is wider; the others, which are first, of the tilt."""

PARTICLES = 125
"""In each of eight populations that stand for a tilt."""

WIDE = 0.25
"""β of the tilt that the other places are of."""

ENOUGH_SHIFT, ENOUGH_SHARE, ENOUGH_WIDENING = 0.3, 0.85, 0.15
"""Between the halves, and in each: no more rounds where all is better than that."""


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
        """Is little to be gained by more simulations?"""
        close = self.shift <= ENOUGH_SHIFT and self.share >= ENOUGH_SHARE
        sharp = self.widening <= ENOUGH_WIDENING
        return close and sharp and self.ratio <= 1 + ENOUGH_SHIFT / 2


@dataclass(frozen=True)
class Drawn:
    """Draws of the tilt by an f, by tempered SMC.

    Args:
        theta: at β = 1, shape (n, P), in double precision.
        wide: at `WIDE`, shape (n, P).
        f: of `theta`, shape (n,).
        log_z: log Z(1), nats.
    """

    theta: Tensor
    wide: Tensor
    f: Tensor
    log_z: float


@dataclass(frozen=True)
class Posterior:
    """The tilt by the f of some simulations.

    Args:
        drawn: from it.
        u: its θ on scales of order one.
        value: f of such u (n, P), shape (n,).
        widening: share that f's error has of the variance of what it compares.
    """

    drawn: Drawn
    u: Tensor
    value: Callable[[Tensor], Tensor]
    widening: float


BatchT = TypeVar("BatchT")
PosteriorT = TypeVar("PosteriorT", bound=Posterior)


@dataclass(frozen=True)
class Halves(Generic[BatchT]):
    """What both chains have simulated.

    Args:
        chains: of each, its rounds.
        agreement: of the two at the end.
        rounds: how many.
    """

    chains: tuple[list[BatchT], list[BatchT]]
    agreement: Agreement
    rounds: int


class Rounds(ABC, Generic[BatchT, PosteriorT]):
    """Both chains.

    Args:
        model: x = θ.
        most: units of all simulations.
        seed: of everything random.
    """

    most_rounds: ClassVar[int] = 5
    """Each has twice the units of the one before."""

    places: ClassVar[int] = 24
    """In each round of each half."""

    fewest_units: ClassVar[int] = 20
    """At one place: their covariance is needed."""

    def __init__(self, model: Parameters, most: int, seed: int) -> None:
        self.model, self.most, self.seed = model, most, seed

    @abstractmethod
    def simulated(self, theta: Tensor, n: int, half: str, number: int) -> BatchT:
        """n units at each θ (k, P) of a round, and what is made of them."""

    @abstractmethod
    def posterior(self, chains: Sequence[Sequence[BatchT]], *purpose: object) -> PosteriorT:
        """The tilt by all simulations of these chains."""

    def halves(self) -> Halves[BatchT]:
        """Simulate until the halves agree, or `most` is spent."""
        chains: tuple[list[BatchT], list[BatchT]] = ([], [])
        last: list[PosteriorT | None] = [None, None]
        for number in range(self.most_rounds):
            for k, half in enumerate(HALVES):
                theta = self._places(last[k], half, number)
                chains[k].append(self.simulated(theta, self.units(number), half, number))
                last[k] = self.posterior([chains[k]], half, number)
            first, second = last
            assert first
            assert second
            agreement = compared(first, second)
            if number and self.is_enough(agreement):
                break
        return Halves(chains, agreement, number + 1)

    def is_enough(self, agreement: Agreement) -> bool:
        """Is another round not worth its simulations?"""
        return agreement.is_close

    def units(self, number: int) -> int:
        """At each place of a round."""
        share = 2**number / (2**self.most_rounds - 1)
        return max(int(self.most * share / (len(HALVES) * self.places)), self.fewest_units)

    @property
    def at_tilt(self) -> int:
        """Places of the tilt itself."""
        return self.places - self.places // WIDER

    def seeds(self, n: int, half: str, number: int) -> list[int]:
        """Of the calls of a round."""
        return [derived_seed(self.seed, half, number, i) for i in range(n)]

    def drawn(self, criterion: Criterion, *purpose: object) -> Drawn:
        """The tilt by a criterion of θ that costs next to nothing: no network has to learn it."""
        of_latent = self.model.simulator.prior.of_latent
        f = LatentCriterion(self.model, criterion)
        generator = derived_generator(self.seed, "posterior", *purpose)
        moves = CrankNicolson(self.model)
        smc = TemperedSMC(self.model, partial(evaluate, f), moves, generator, particles=PARTICLES)
        particles = smc.particles(1.0, 8 * PARTICLES, generator)
        wide = smc.particles(WIDE, 8 * PARTICLES, generator)
        theta, of_wide = of_latent(particles.z.double()), of_latent(wide.z.double())
        return Drawn(theta, of_wide, particles.f.double(), smc.at(1.0).log_z)

    def _places(self, last: Posterior | None, half: str, number: int) -> Tensor:
        """θ (`places`, P) of a round: of the prior, or of the last posterior and around it."""
        prior = self.model.simulator.prior
        seed = derived_seed(self.seed, half, number, "places")
        if last is None:
            even = SobolEngine(len(prior), scramble=True, seed=seed % 2**31).draw(self.places)
            inside = even.double().clamp(1e-4, 1 - 1e-4)
            return prior.of_latent(torch.special.ndtri(inside))
        generator = derived_generator(seed, "chosen")
        theta, wide = last.drawn.theta, last.drawn.wide
        of_posterior = torch.randperm(len(theta), generator=generator)[: self.at_tilt]
        of_wide = torch.randperm(len(wide), generator=generator)[: self.places - self.at_tilt]
        return torch.cat([theta[of_posterior], wide[of_wide]])


def compared(first: Posterior, second: Posterior) -> Agreement:
    """How far two posteriors are from each other."""
    one, two = first.drawn.theta, second.drawn.theta
    spread = torch.stack([one.std(0), two.std(0)])
    shift = (one.mean(0) - two.mean(0)).abs() / spread.mean(0)
    log_ratio = (spread[0] / spread[1]).log().abs()
    shares = []
    for own, other in ((first, second), (second, first)):
        log_w = (other.value(own.u) - own.drawn.f).double()
        shares.append(effective_sample_size(log_w) / len(log_w))
    widening = max(first.widening, second.widening)
    ratio = math.exp(log_ratio.max().item())
    return Agreement(shift.max().item(), ratio, min(shares), widening)
