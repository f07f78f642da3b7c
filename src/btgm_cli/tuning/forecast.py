"""A look ahead of a tuning: its reference, and what draws will cost by each way."""

from __future__ import annotations

import time
from dataclasses import dataclass

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.results import Paid
from btgm_cli.core.seeds import derived_generator
from btgm_cli.truth.references import Estimated, follows_gradient, reference_for
from btgm_cli.tuning.pace import Pace, pace_of
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.sight import Sight, sight
from btgm_cli.tuning.ways import BY_GRADIENT, MOVES, Plan, Way, ways


@dataclass(frozen=True)
class Forecast:
    """What is known before anything is trained.

    Args:
        seen: the tilt that is asked for.
        plan: of the tuning.
        pace: of this machine.
        n_prior: draws of p that it rests on; 0 where the tilts are known in closed form.
        moves: evaluations for each particle at a rung of an SMC.
    """

    seen: Sight
    plan: Plan
    pace: Pace
    n_prior: int
    moves: int = MOVES

    @property
    def ways(self) -> list[Way]:
        """What draws will cost."""
        return ways(self.seen, self.plan, self.pace, self.moves)


def begun(
    problem: Problem, paid: Paid | None, decoded: Paid | None = None
) -> tuple[ReferenceSource, Forecast | None]:
    """The reference that a tuning of this problem makes, and what it tells of the cost.

    Args:
        problem: with one target, or a path.
        paid: where values of f are kept.
        decoded: where x of its draws of p is.

    Returns:
        Both; no forecast where `sight` sees nothing.
    """
    settings, started = problem.settings, time.perf_counter()
    reference = reference_for(
        problem.f.remembering(paid),
        settings.n_reference,
        settings.n_particles,
        problem.seed,
        problem.device,
        decoded=decoded,
    )
    elapsed = time.perf_counter() - started
    return reference, forecast(problem, reference, elapsed / settings.n_reference)


def forecast(problem: Problem, reference: ReferenceSource, evaluation: float) -> Forecast | None:
    """What draws of the tilt that is asked for will cost; None where `sight` sees nothing.

    Args:
        problem: with one target, or a path.
        reference: just begun; what it has drawn of p is looked at, and no more is asked of it.
        evaluation: seconds of one of f, where the reference has evaluated any.
    """
    generator = derived_generator(problem.seed, "sight", device=problem.device)
    seen = sight(problem.target, problem.settings, reference, generator)
    if seen is None:
        return None
    estimated = isinstance(reference, Estimated)
    pace = pace_of(problem, seen.beta, evaluation if estimated else None)
    plan = Plan.of(problem.target, problem.settings, seen.kl, closed_form=not estimated)
    n_prior = problem.settings.n_reference if estimated else 0
    follows = estimated and follows_gradient(problem.f, problem.device)
    return Forecast(seen, plan, pace, n_prior, BY_GRADIENT if follows else MOVES)
