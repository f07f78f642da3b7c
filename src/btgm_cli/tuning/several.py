"""Algorithm 1 with several targets: E fᵢ ≥ cᵢ for the terms of a sum whose weights are sought."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.contracts import Summed
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import PathPoint, Status
from btgm_cli.tilt.multipliers import solve
from btgm_cli.tilt.search import Goal, Quantity
from btgm_cli.truth.references import ReferenceSource
from btgm_cli.truth.verdict import Verdict, hopeless, judge
from btgm_cli.tuning.feasibility import bound
from btgm_cli.tuning.visit import Visits


@dataclass(frozen=True)
class Outcome:
    """What the search left: a verdict with its text, and a row for each pass."""

    visits: Visits
    verdict: Verdict
    text: str
    remedy: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Reached:
    """The terms' means under a tuned model, with their errors, each of shape (m,)."""

    f: Tensor

    @property
    def mean(self) -> Tensor:
        """E fᵢ."""
        return self.f.mean(0)

    @property
    def error(self) -> Tensor:
        """Standard errors."""
        return self.f.std(0) / math.sqrt(len(self.f))


def search_several(
    visits: Visits,
    wishes: Mapping[str, float],
    reference_of: Callable[[LatentCriterion], ReferenceSource],
) -> Outcome:
    """Tune to the tilt closest to p that grants every wish.

    The next λ comes from the tuned model's own draws, with their covariance as the Jacobian. β is
    told as Σ λᵢ σᵢ, with σᵢ the deviation of fᵢ under p, so that it measures the tilt's strength.

    Args:
        visits: at the start, with a sum as criterion.
        wishes: cᵢ by the names of its terms.
        reference_of: the exact tilt of a criterion.
    """
    names = list(wishes)
    goal = torch.tensor([wishes[name] for name in names], dtype=torch.double)
    settings = visits.settings
    point = visits.visit(0.0, None, lambda _: True)
    reached = _reached(visits, settings.n_reference)
    sigma = reached.f.std(0)
    distance = (goal - reached.mean).abs()
    tolerance = settings.tolerance * torch.minimum(goal.abs(), distance)
    multipliers = torch.zeros_like(goal)
    rows = [_row(names, goal, multipliers, reached)]
    met = _met(reached, goal, multipliers, tolerance)
    if not (met or hopeless(point)) and (
        refusal := _impossible(visits, wishes, rows[0], reference_of)
    ):
        return Outcome(visits, Verdict(Status.INFEASIBLE), *refusal, rows)
    while not (met or hopeless(point)) and len(visits.points) <= settings.max_updates:
        multipliers = solve(reached.f, goal, multipliers)
        if not multipliers.any():  # p itself, by draws that contradict those of the first look
            break
        beta = (multipliers * sigma).sum().item()
        visits = _towards(visits, multipliers / beta, reference_of)
        point = visits.visit(beta, None, lambda _: True)
        if hopeless(point):
            break
        reached = _reached(visits, settings.n_eval)
        rows.append(_row(names, goal, multipliers, reached))
        met = _met(reached, goal, multipliers, tolerance)
    verdict = judge(point, visits.thresholds)
    if not met and verdict.status in (Status.OK, Status.OK_CORRECTED):
        verdict = Verdict(
            Status.UNDERTRAINED, "the search did not end there", ("max_updates", "steps")
        )
    return Outcome(visits, verdict, _text(rows[-1], names, point, verdict), "", rows)


def _towards(
    visits: Visits,
    weights: Tensor,
    reference_of: Callable[[LatentCriterion], ReferenceSource],
) -> Visits:
    """The same visits, of the sum with these weights."""
    criterion = visits.f.criterion
    assert isinstance(criterion, Summed)
    f = visits.f.of(criterion.weighted(weights.tolist()))
    return replace(visits, f=f, reference=reference_of(f), weights=tuple(weights.tolist()))


def _reached(visits: Visits, n: int) -> Reached:
    """The terms under the tuned model as it stands."""
    generator = visits.generator("several", len(visits.points))
    z, _ = visits.tuned.draw(n, generator)
    return Reached(evaluate(visits.f.terms, z).double().cpu())


def _met(reached: Reached, goal: Tensor, multipliers: Tensor, tolerance: Tensor) -> bool:
    """Is every wish granted, and none by more than it asks unless it costs nothing?"""
    allowed = torch.maximum(tolerance, 2 * reached.error)
    excess = reached.mean - goal
    idle = multipliers == 0
    return bool(((excess >= -allowed) & (idle | (excess <= allowed))).all())


def _row(names: list[str], goal: Tensor, multipliers: Tensor, reached: Reached) -> dict[str, Any]:
    """A pass as plain data: each wish, its multiplier, and what was reached."""
    row: dict[str, Any] = {}
    columns = zip(names, goal, multipliers, reached.mean, reached.error, strict=True)
    for name, c, multiplier, mean, error in columns:
        row |= {
            f"at_least_{name}": c.item(),
            f"multiplier_{name}": multiplier.item(),
            f"mean_{name}": mean.item(),
            f"mean_{name}_se": error.item(),
        }
    return row


def _text(row: dict[str, Any], names: list[str], point: PathPoint, verdict: Verdict) -> str:
    wishes = ", ".join(
        f"E {name} {row[f'mean_{name}']:.4g} for at least {row[f'at_least_{name}']:.4g} "
        f"(multiplier {row[f'multiplier_{name}']:.3g})"
        for name in names
    )
    text = f"{wishes}; KL {point.moments.kl:.4g} nats"
    return f"{text}; {verdict.reason}" if verdict.reason else text


def _impossible(
    visits: Visits,
    wishes: Mapping[str, float],
    prior: Mapping[str, float],
    reference_of: Callable[[LatentCriterion], ReferenceSource],
) -> tuple[str, str] | None:
    """Why a wish cannot be granted even alone, and what to ask instead; None where all can be."""
    criterion = visits.f.criterion
    assert isinstance(criterion, Summed)
    for name, c in wishes.items():
        alone = reference_of(visits.f.of(criterion.terms[name]))
        most = bound(Goal(Quantity.MEAN, c), alone) if c > prior[f"mean_{name}"] else None
        if most is not None:
            start = prior[f"mean_{name}"]
            less = {**wishes, name: start + 0.9 * (most.value - start)}
            asked = ",".join(f"{term}:{value:.4g}" for term, value in less.items())
            text = (
                f"E {name} of at least {c:.4g} cannot be met: "
                f"the largest reached is {most.value:.4g} at β = {most.beta:.3g}"
            )
            return text, f"target.at_least={{{asked}}}"
    return None
