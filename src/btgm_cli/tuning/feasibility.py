"""Can a target be met at all? KL(q_β‖p) is bounded by −log P_p(f = max f), E f by max f."""

from __future__ import annotations

import math
from dataclasses import dataclass

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.results import Reference
from btgm_cli.tilt.search import Goal, Quantity
from btgm_cli.truth.references import STRONGEST


@dataclass(frozen=True)
class Bound:
    """The largest value of the target's quantity, where the reference can tell."""

    value: float
    beta: float


def bound(goal: Goal, reference: ReferenceSource) -> Bound | None:
    """The largest reachable value, or None where the reference loses sight before reaching it.

    Walks β upwards while the reference is reliable; a target below what was seen is feasible.
    """
    spread = math.sqrt(reference.at(0.0).var)
    beta = 0.1 / spread
    while beta * spread <= STRONGEST:
        tilt = reference.at(beta)
        if not tilt.reliable or _value(goal, tilt) >= goal.value:
            return None
        beta *= 2
    return Bound(_value(goal, tilt), tilt.beta)


def _value(goal: Goal, tilt: Reference) -> float:
    return tilt.kl if goal.quantity is Quantity.KL else tilt.mean
