"""How far a tilt is from the one that the flow was trained for last."""

from __future__ import annotations

import math

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.results import PathPoint

BESIDE = 0.1
"""nats, KL one way and back. On the default path, whose last two steps are 0.03 and 0.01 long, 0.1
leaves out two of five trainings and every gap is within its error of what it was."""


ALIKE = 0.01
"""nats, KL one way and back: a model of the one tilt stands for the other as it is, acceptance and
all. What the gap grows by, at most half of that beside a step that has nothing to do with it, is
measured at the new tilt."""


def last_trained(points: list[PathPoint]) -> PathPoint | None:
    """The last of these points that has a training of the flow."""
    return next((point for point in reversed(points) if point.effort.steps), None)


def moved(last: PathPoint, beta: float, weights: tuple[float, ...]) -> float:
    """How far the tilt by β, of a sum with these weights, is from the last, as a share of it."""
    if not (weights and last.weights):
        return abs(beta - last.beta) / beta
    new = [beta * weight for weight in weights]
    old = [last.beta * weight for weight in last.weights[: len(weights)]]
    return math.dist(new, old) / math.hypot(*new)


def is_beside(
    reference: ReferenceSource, last: PathPoint, beta: float, weights: tuple[float, ...]
) -> bool:
    """Are the two exact tilts `BESIDE` one another, so that the flow can stay?

    KL(q_β‖q_t) + KL(q_t‖q_β) = (β − t)(E_β f − E_t f), nats. A training has little to learn there
    and scatters by some hundredths of a nat, so that a search would not come to rest by it; the
    acceptance is moved without any.
    """
    if last.beta == 0 or last.weights != weights:
        return False
    there, here = reference.at(last.beta), reference.at(beta)
    apart = (beta - last.beta) * (here.mean - there.mean)
    return there.reliable and here.reliable and apart <= BESIDE
