"""Where a target lies, and whether it can be met at all, as far as the reference can tell.

KL(q_β‖p) is bounded by −log P_p(f = max f), E f by max f. Below the bound the reference knows the
β of a target before anything is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.results import Reference
from btgm_cli.tilt.bisection import bisect, half
from btgm_cli.tilt.search import Goal, Quantity
from btgm_cli.truth.references import STEP, STRONGEST


@dataclass(frozen=True)
class Bound:
    """The largest value of the target's quantity, where the reference can tell."""

    value: float
    beta: float


@dataclass(frozen=True)
class Prospect:
    """What the reference tells of a target.

    Args:
        beta: the tilt that meets it; None where the reference does not see as far.
        most: the largest value that there is, where that is too small.
    """

    beta: float | None = None
    most: Bound | None = None


def prospect(goal: Goal, reference: ReferenceSource) -> Prospect:
    """Walk β upwards while the reference is reliable, until the target is met.

    In small steps, since a tempered SMC has to climb as far as it is asked.
    """
    spread = math.sqrt(reference.at(0.0).var)
    below, beta = 0.0, 0.1 / spread
    while beta * spread <= STRONGEST:
        tilt = reference.at(beta)
        if not tilt.reliable:
            return Prospect()
        if _value(goal, tilt) >= goal.value:
            return Prospect(half(*bisect(_less_than(goal, reference), below, beta, 30)))
        below, beta = beta, STEP * beta
    return Prospect(most=Bound(_value(goal, tilt), tilt.beta))


def _less_than(goal: Goal, reference: ReferenceSource) -> Callable[[float], bool]:
    return lambda beta: _value(goal, reference.at(beta)) < goal.value


def _value(goal: Goal, tilt: Reference) -> float:
    return tilt.kl if goal.quantity is Quantity.KL else tilt.mean
