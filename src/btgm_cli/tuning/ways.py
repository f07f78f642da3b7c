"""What draws of a tilt will cost by rejection, by SMC and by tuning, before any of it is done.

Estimates; what a run has spent in the end is in `cost.csv`. The unit is its unit: one evaluation
of f, a gradient counting as three.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from btgm_cli.core.target import Target
from btgm_cli.truth.evaluation import MOST_ROUNDS
from btgm_cli.truth.moves import GRADIENT
from btgm_cli.truth.price import SMC_PARTICLES, by_rejection
from btgm_cli.truth.smc import POPULATIONS, RUNG_ESS
from btgm_cli.tuning.fitting import N_CALIBRATE, N_GUARD, N_PRIOR, N_SCREENED, N_SIFTED, STEPS
from btgm_cli.tuning.learning import FIRST, LATER
from btgm_cli.tuning.pace import Pace
from btgm_cli.tuning.preconditioning import price_of_pilot
from btgm_cli.tuning.settings import FirstBeta, Gradient, Tuning
from btgm_cli.tuning.sight import Sight
from btgm_cli.tuning.surrogate import OFFERED, ROUNDS

RUNG = math.sqrt(-math.log(RUNG_ESS))
"""Length of a rung of SMC in units of √(2 KL): weights of a normal log with variance s² leave the
share exp(−s²) effective, and a Gaussian's tilt by a linear f has variance 2 KL."""

MOVES = 4
"""At each rung: 2 to 8 were counted, on the Gaussian in 8 and 64 dimensions and on the GAN."""

BY_GRADIENT = 30
"""At each rung where moves follow f's gradient: ten gradients, where that is easy."""

SMC_SHARE = 1.0
"""Effective draws for each particle, by their spread: 0.5 to 2 on the same, of two rungs."""

LEAST_SMC = SMC_SHARE * POPULATIONS * SMC_PARTICLES
"""Draws that the smallest SMC is worth."""

TUNED_SHARE = 0.5
"""`ess_fraction` of a tuned model that passes for good."""

TRAININGS = {FirstBeta.REFERENCE: 2, FirstBeta.SECOND_ORDER: 4}
"""Towards one target."""


class Method(StrEnum):
    """A way to draws of the exact tilt; auto is the cheapest."""

    AUTO = "auto"
    REJECTION = "rejection"
    SMC = "smc"
    TUNING = "tuning"


@dataclass(frozen=True)
class Way:
    """What draws are estimated to cost in one way.

    Args:
        method: which.
        fixed: evaluations before the first draw.
        each: evaluations for an effective draw.
        fixed_seconds: before the first draw.
        each_seconds: of an effective draw, its evaluations among them.
        at_least: is it only a lower bound?
        least: draws that it makes at the least.
        free: effective draws that have been paid for.
    """

    method: Method
    fixed: float
    each: float
    fixed_seconds: float
    each_seconds: float
    at_least: bool = False
    least: float = 0.0
    free: float = 0.0

    def evaluations(self, n: int) -> float:
        """For n effective draws."""
        return self.fixed + self.each * self._draws(n)

    def seconds(self, n: int) -> float:
        """For n effective draws."""
        return self.fixed_seconds + self.each_seconds * self._draws(n)

    def _draws(self, n: int) -> float:
        """That are still to be paid for."""
        return max(n, self.least) - self.free if n > self.free else 0.0


@dataclass(frozen=True)
class Plan:
    """What a tuning is to do.

    Args:
        trainings: how many.
        judged: draws that its figures rest on, in all.
        settings: of the tuning.
        of_prior: draws of p that s learns from: those that a reference shows, or own ones.
        kl: of the tilt, nats.
    """

    trainings: int
    judged: int
    settings: Tuning
    of_prior: int
    kl: float

    @classmethod
    def of(cls, target: Target, settings: Tuning, kl: float, *, closed_form: bool) -> Plan:
        """Of a path, or of one target whose tilt has this KL, nats."""
        of_prior = settings.n_reference // (1 if closed_form else 2)
        if target.path is not None:
            trainings = sum(beta > 0 for beta in target.path)
            return cls(trainings, settings.n_eval * len(target.path), settings, of_prior, kl)
        trainings, each = TRAININGS[settings.first_beta], settings.n_eval
        if target.C_f is None:  # a KL is told by draws whose f nobody asks for
            return cls(trainings, (trainings + 1) * each, settings, of_prior, kl)
        # The error that the tolerance asks for, as if f were normal: (C_f − E_p f)² = 2 KL Var f.
        needed = 2 / (settings.tolerance**2 * max(kl, 1e-9))
        rounds = min(MOST_ROUNDS, math.ceil(needed / each))
        return cls(trainings, (trainings + 1) * rounds * each, settings, of_prior, kl)

    @property
    def steps(self) -> int:
        """Of training, in all."""
        return self.settings.first_steps + (self.trainings - 1) * self.settings.steps

    @property
    def evaluations(self) -> float:
        """Of f, in all."""
        settings = self.settings
        if settings.gradient is Gradient.SURROGATE:
            each = settings.n_learn + N_SIFTED
            return self.judged + self.of_prior + self.trainings * each
        if settings.gradient is Gradient.PARTICLES:
            spent = self.judged + self.trainings * settings.n_learn
        else:
            weight = 1 if settings.gradient is Gradient.SCORE else GRADIENT
            spent = self.judged + weight * self.steps * settings.batch_size
            spent += self.trainings * price_of_pilot(self.kl)
        if settings.min_acceptance_rate < 1:
            spent += N_PRIOR + self.trainings * (N_GUARD + N_SIFTED + N_SCREENED)
        return spent

    def seconds(self, pace: Pace) -> float:
        """Beside those of the evaluations."""
        return self.steps * pace.step + self._fits * pace.fit + self._draws * pace.draw

    @property
    def _fits(self) -> float:
        """Steps of the fit of what is learned of f."""
        if self.settings.gradient is Gradient.SURROGATE:
            return ROUNDS * LATER * self.steps + FIRST * self.settings.first_steps
        return STEPS * self.steps if self.settings.min_acceptance_rate < 1 else 0

    @property
    def _draws(self) -> int:
        """Of the tuned model."""
        draws = self.judged
        if self.settings.min_acceptance_rate < 1:
            draws += self.trainings * N_CALIBRATE
        if self.settings.gradient is Gradient.SURROGATE:
            draws += self.trainings * OFFERED * self.settings.n_learn
        return draws


def climb(seen: Sight, moves: int) -> int:
    """Evaluations for each particle of an SMC up to this tilt, with so many at each rung."""
    return 1 + moves * math.ceil(math.sqrt(2 * max(seen.kl, 0.0)) / RUNG)


def ways(seen: Sight, plan: Plan, pace: Pace, moves: int = MOVES) -> list[Way]:
    """What draws of the tilt that is seen will cost, by each way.

    Args:
        seen: the tilt.
        plan: of the tuning.
        pace: of this machine.
        moves: evaluations for each particle at a rung of an SMC.
    """
    each = climb(seen, moves)
    smc = each / SMC_SHARE
    rejection = by_rejection(1.0, seen.log_rejection, 0.0)
    before, draw = plan.evaluations, 1 / TUNED_SHARE
    if plan.settings.gradient is Gradient.PARTICLES:
        before += each * plan.settings.n_learn
    if not seen.clear:  # the reference climbs, and tuning learns from what that meets
        before += each * plan.settings.n_particles
    return [
        Way(
            Method.REJECTION,
            0.0,
            rejection,
            0.0,
            pace.evaluation * rejection,
            at_least=not seen.clear,
        ),
        Way(
            Method.SMC,
            0.0,
            smc,
            0.0,
            pace.evaluation * smc,
            at_least=moves == BY_GRADIENT,
            least=LEAST_SMC,
        ),
        Way(
            Method.TUNING,
            before,
            draw,
            pace.evaluation * before + plan.seconds(pace),
            (pace.evaluation + pace.draw) * draw,
        ),
    ]
