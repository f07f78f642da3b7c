"""Several targets at once: E fᵢ ≥ cᵢ for the terms of a sum whose weights are sought."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.contracts import ReferenceSource, Summed
from btgm_cli.core.latent_criterion import evaluate
from btgm_cli.core.results import Particles, PathPoint, Status, Verdict
from btgm_cli.core.seeds import derived_generator
from btgm_cli.tilt.multipliers import solve
from btgm_cli.tilt.search import Goal, Quantity
from btgm_cli.truth.references import reference_for
from btgm_cli.tuning.contradiction import Contradiction, find_contradiction
from btgm_cli.tuning.feasibility import Bound, prospect
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.strategy import UNFINISHED, Outcome, Row, Tilt
from btgm_cli.tuning.visit import Visits

CONSTANT = 1e-6
"""A sum that varies by less, beside its terms, varies by rounding."""


@dataclass(frozen=True)
class Reached:
    """The terms on a model's own draws: f of shape (n, m), float64."""

    f: Tensor

    @property
    def mean(self) -> Tensor:
        """E fᵢ, shape (m,)."""
        return self.f.mean(0)

    @property
    def error(self) -> Tensor:
        """Standard errors, shape (m,)."""
        return self.f.std(0) / math.sqrt(len(self.f))


class SeveralTargets:
    """Tune to the tilt closest to p that grants every wish: a `Strategy`.

    The next λ comes from the tuned model's own draws, with their covariance as the Jacobian. β is
    told as Σ λᵢ σᵢ, with σᵢ the deviation of fᵢ under p, so that it measures the tilt's strength.
    The terms are evaluated once on draws of p, which serve the first step, the look for
    contradictions and the reference of each sum.

    Args:
        problem: with a sum as criterion and a wish for each of its terms.
    """

    passes = None

    def __init__(self, problem: Problem) -> None:
        criterion, wishes = problem.f.criterion, problem.target.at_least
        assert isinstance(criterion, Summed)
        assert wishes is not None
        self._problem, self._criterion = problem, criterion
        self._wishes = {name: float(wishes[name]) for name in criterion.terms}
        self._goal = torch.tensor(list(self._wishes.values()), dtype=torch.double)
        self._multipliers = torch.zeros_like(self._goal)
        self._refused: Contradiction | None = None
        self._met = False
        self._row: Row = {}
        self.f_evals = 0

    def first(self, visits: Visits) -> Tilt:
        """P itself, whose draws are those of every reference."""
        problem, self._remembering = self._problem, visits.remembering
        generator = derived_generator(problem.seed, "reference", device=problem.device)
        self._z = problem.f.model.sample_prior(problem.settings.n_reference, generator)
        self._prior = Reached(evaluate(self._remembering(problem.f).terms, self._z).double().cpu())
        self.f_evals += len(self._z)
        weights = tuple(self._criterion.weights.values())
        visits.turn_to(problem.f, self._reference_of(weights), ())
        return Tilt(0.0)

    def next(self, visits: Visits) -> Tilt | None:
        """The tilt by the multipliers that the last model's draws ask for."""
        first = len(visits.points) == 1
        reached = self._prior if first else self._look(visits)
        self._row = self._state(reached)
        self._met = self._is_met(reached)
        last = len(visits.points) > self._problem.settings.max_updates
        if not self._met and (first or last):
            seen = self._prior.f if first else torch.cat([self._prior.f, reached.f])
            self._refused = find_contradiction(seen, self._wishes, self._most)
        if self._met or self._refused or last:
            return None
        self._multipliers = solve(reached.f, self._goal, self._multipliers)
        if not self._multipliers.any():  # p itself, by draws that contradict the first look's
            return None
        beta = (self._multipliers * self._prior.f.std(0)).sum().item()
        weights = tuple((self._multipliers / beta).tolist())
        self.f_evals += visits.reference.f_evals  # of the sum that is left behind
        f = self._problem.f.of(self._criterion.weighted(weights))
        visits.turn_to(f, self._reference_of(weights), weights)
        return Tilt(beta)

    def row(self) -> Row:
        """Each wish, its multiplier, and what was reached."""
        return self._row

    def outcome(self, points: Sequence[PathPoint]) -> Outcome:
        """Granted, missed, or contradictory."""
        verdict = points[-1].verdict
        if self._refused:
            told = self._refused
            return Outcome(Verdict(Status.INFEASIBLE), told.text, told.remedy)
        if not self._row:  # already p is hopeless
            return Outcome(verdict, verdict.reason)
        if not self._met and verdict.status in (Status.OK, Status.OK_CORRECTED):
            verdict = UNFINISHED
        text = f"{self._told()}; KL {points[-1].figures.moments.kl:.4g} nats"
        return Outcome(verdict, f"{text}; {verdict.reason}" if verdict.reason else text)

    def _reference_of(self, weights: tuple[float, ...]) -> ReferenceSource:
        """The exact tilt of the sum with these weights, from the draws of p at hand."""
        problem, settings = self._problem, self._problem.settings
        f = self._remembering(problem.f.of(self._criterion.weighted(weights)), *weights)
        values = self._prior.f @ torch.tensor(weights, dtype=torch.double)
        return reference_for(
            f,
            settings.n_reference,
            settings.n_particles,
            problem.seed,
            problem.device,
            start=Particles(self._z, values.to(self._z)),
        )

    def _look(self, visits: Visits) -> Reached:
        """The terms under the tuned model as it stands."""
        n = self._problem.settings.n_eval
        z, _ = visits.tuned.draw(n, visits.generator("several", len(visits.points)))
        self.f_evals += n
        return Reached(evaluate(self._remembering(self._problem.f).terms, z).double().cpu())

    def _is_met(self, reached: Reached) -> bool:
        """Is every wish granted, and none by more than it asks unless it costs nothing?"""
        distance = (self._goal - self._prior.mean).abs()
        tolerance = self._problem.settings.tolerance * distance
        allowed = torch.maximum(tolerance, 2 * reached.error)
        excess = reached.mean - self._goal
        idle = self._multipliers == 0
        return bool(((excess >= -allowed) & (idle | (excess <= allowed))).all())

    def _most(self, weights: tuple[float, ...], asked: float) -> Bound | None:
        """The largest mean of a sum, where that is less than what is asked."""
        total = self._prior.f @ torch.tensor(weights, dtype=torch.double)
        deviations = self._prior.f.std(0) @ torch.tensor(weights, dtype=torch.double)
        if total.std() < CONSTANT * deviations:  # the terms cancel: no tilt moves their sum
            return Bound(total.mean().item(), 0.0)
        reference = self._reference_of(weights)
        most = prospect(Goal(Quantity.MEAN, asked), reference).most
        self.f_evals += reference.f_evals
        return most

    def _state(self, reached: Reached) -> Row:
        row: Row = {}
        columns = zip(
            self._wishes.items(), self._multipliers, reached.mean, reached.error, strict=True
        )
        for (name, c), multiplier, mean, error in columns:
            row |= {
                f"at_least_{name}": c,
                f"multiplier_{name}": multiplier.item(),
                f"mean_{name}": mean.item(),
                f"mean_{name}_se": error.item(),
            }
        return row

    def _told(self) -> str:
        row = self._row
        return ", ".join(
            f"E {name} {row[f'mean_{name}']:.4g} for at least {c:.4g} "
            f"(multiplier {row[f'multiplier_{name}']:.3g})"
            for name, c in self._wishes.items()
        )
