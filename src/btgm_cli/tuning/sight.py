"""What draws of p tell of the tilt that a run is asked for, before anything is trained.

As far as the weights of these draws can be relied on its β, KL and log Z follow from them. Beyond,
they are extrapolated by the second-order model at the strongest tilt that can: to a KL by a power
of β, to a mean of f along its slope. No SMC is climbed for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.results import Reference
from btgm_cli.core.target import Target
from btgm_cli.tilt.search import Goal, Quantity
from btgm_cli.truth.price import N_BEST
from btgm_cli.truth.references import STEP, STRONGEST, Estimated, PriorDraws
from btgm_cli.tuning.feasibility import prospect
from btgm_cli.tuning.one_target import goal_of
from btgm_cli.tuning.settings import Tuning

LEAST_KL = 1e-3
"""nats; where not even so weak a tilt is known, it has to do."""


@dataclass(frozen=True)
class Sight:
    """The tilt that is asked for, from afar.

    Args:
        beta: β.
        kl: KL(q_β‖p), nats.
        log_rejection: log of p's draws for one of the tilt by rejection; where the tilt is out of
            sight its KL, which is the least that this can be.
        clear: do the draws of p tell of it? Else all is extrapolated.
    """

    beta: float
    kl: float
    log_rejection: float
    clear: bool


def sight(
    target: Target, settings: Tuning, reference: ReferenceSource, generator: torch.Generator
) -> Sight | None:
    """What the reference tells of a target by its draws of p, or in closed form.

    Args:
        target: a path, whose last β counts, or one target.
        settings: of the tuning.
        reference: the exact tilt; it is asked for nothing that would make an SMC climb.
        generator: of draws of a tilt that is known in closed form.

    Returns:
        What is seen; None where there is nothing to tell: p itself is asked for, no tilt meets
        the target, or f is NaN or constant under p.
    """
    draws = reference.prior if isinstance(reference, Estimated) else reference
    spread = math.sqrt(max(draws.at(0.0).var, 0.0))
    if not 0 < spread < math.inf:
        return None
    if target.path is not None:
        return _at(target.path[-1], draws, generator) if target.path[-1] > 0 else None
    goal = goal_of(target, settings)
    found = prospect(goal, draws)
    if found.most is not None:
        return None
    if found.beta is not None:
        return _clear(draws.at(found.beta), draws, generator)
    return _towards(goal, _strongest(draws, STRONGEST / spread))


def _at(beta: float, draws: ReferenceSource, generator: torch.Generator) -> Sight:
    """The tilt at a β that is given."""
    tilt = draws.at(beta)
    if tilt.reliable:
        return _clear(tilt, draws, generator)
    last = _strongest(draws, beta)
    kl = last.kl * (beta / last.beta) ** _power(last)
    return Sight(beta, kl, kl, clear=False)


def _clear(tilt: Reference, draws: ReferenceSource, generator: torch.Generator) -> Sight:
    if isinstance(draws, PriorDraws):
        best = draws.f.double().max().item()
    else:
        best = draws.particles(tilt.beta, N_BEST, generator).f.max().item()
    return Sight(tilt.beta, tilt.kl, max(tilt.beta * best - tilt.log_z, 0.0), clear=True)


def _strongest(draws: ReferenceSource, beta: float) -> Reference:
    """The strongest tilt below β that the draws tell of reliably; in steps, from above."""
    tilt = draws.at(beta)
    while not tilt.reliable and tilt.kl > LEAST_KL:
        beta /= STEP
        tilt = draws.at(beta)
    return tilt


def _towards(goal: Goal, last: Reference) -> Sight:
    """A target beyond the last tilt that is known."""
    power = _power(last)
    if goal.quantity is Quantity.KL:
        beta = last.beta * (goal.value / last.kl) ** (1 / power)
        return Sight(beta, goal.value, goal.value, clear=False)
    beta = last.beta + (goal.value - last.mean) / last.var
    kl = last.kl * (beta / last.beta) ** power
    return Sight(beta, kl, kl, clear=False)


def _power(tilt: Reference) -> float:
    """d log KL / d log β, from KL' = β Var f."""
    return tilt.beta**2 * tilt.var / tilt.kl
