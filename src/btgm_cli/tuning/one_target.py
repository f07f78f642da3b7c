"""One target, a KL or a mean of f: the second-order search for its β."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from btgm_cli.core.results import Moments, PathPoint, Reference, Status, Verdict
from btgm_cli.core.target import Target
from btgm_cli.tilt import search as second_order
from btgm_cli.tilt.search import Goal, Quantity, Search
from btgm_cli.tuning.feasibility import Bound, prospect
from btgm_cli.tuning.settings import FirstBeta, Tuning
from btgm_cli.tuning.strategy import UNFINISHED, Outcome, Row
from btgm_cli.tuning.tilts import Tilt
from btgm_cli.tuning.visit import Visits


def goal_of(target: Target, settings: Tuning) -> Goal:
    """What a target other than a path asks for."""
    if target.C_f is not None:
        return Goal(Quantity.MEAN, target.C_f, settings.tolerance)
    budget = target.C_D if target.C_D is not None else -math.log(target.rho or 1.0)
    return Goal(Quantity.KL, budget, settings.tolerance)


@dataclass
class OneTarget:
    """Look for the β that meets `goal`, by second-order updates from β = 0: a `Strategy`.

    Args:
        goal: what to meet.
        max_updates: visits after the one of p before giving up.
        first_beta: what proposes the first β.
    """

    goal: Goal
    max_updates: int
    first_beta: FirstBeta
    passes: None = None
    f_evals: int = 0
    _search: Search | None = None
    _state: Row | None = None
    _most: Bound | None = None
    _proposed_by: FirstBeta = FirstBeta.SECOND_ORDER

    def first(self, visits: Visits) -> Tilt:
        """P itself."""
        return self._tilt(0.0)

    def next(self, visits: Visits) -> Tilt | None:
        """Where the search sends us from the last point."""
        moments = visits.points[-1].figures.moments
        if self._search is None:
            search = self._begun(moments, visits)
        else:
            search = second_order.update(self._search, moments)
        self._search, self._state = search, _state(search, moments)
        if self._most or search.converged or search.updates >= self.max_updates:
            return None
        return self._tilt(search.beta)

    def _begun(self, moments: Moments, visits: Visits) -> Search:
        """The search at p: the reference knows where to begin, if it sees as far."""
        search = second_order.init(self.goal, moments)
        if search.converged:
            return search
        ahead = prospect(self.goal, visits.reference)
        self._most = ahead.most
        if ahead.beta is None or self.first_beta is FirstBeta.SECOND_ORDER:
            return search
        self._proposed_by = FirstBeta.REFERENCE
        return replace(search, beta=ahead.beta)

    def row(self) -> Row:
        """The search after the last visit: its bracket, the next β and what proposed it."""
        row = dict(self._state or {})
        if row:
            row["proposed_by"] = "" if row["converged"] else str(self._proposed_by)
            self._proposed_by = FirstBeta.SECOND_ORDER
        return row

    def outcome(self, points: Sequence[PathPoint]) -> Outcome:
        """Met, missed, or out of reach."""
        last = points[-1]
        if self._search is None:  # already p is hopeless
            return Outcome(last.verdict, last.verdict.reason)
        if self._most:
            return infeasible(self.goal, self._most, points[0].figures.moments)
        moments, verdict = last.figures.moments, last.verdict
        reached = moments.kl if self.goal.quantity is Quantity.KL else moments.mean
        text = (
            f"{self.goal.quantity} {reached:.4g} for a target of {self.goal.value:.4g} "
            f"at β = {last.beta:.4g} after {self._search.updates} updates"
        )
        right = verdict.status in (Status.OK, Status.OK_CORRECTED)
        if right and not self._search.converged:
            verdict = UNFINISHED
        return Outcome(verdict, f"{text}; {verdict.reason}" if verdict.reason else text)

    def _tilt(self, beta: float) -> Tilt:
        return Tilt(beta, self._precise, of_kl=self.goal.quantity is Quantity.KL)

    def _precise(self, moments: Moments) -> bool:
        """Is the Monte-Carlo error small beside what the target allows?"""
        error = 2 * self.goal.error(moments)
        if self._search is not None:
            return error <= self._search.tolerance
        # Of p: beside the distance, unless that is too small to be told from none.
        return error <= self.goal.allowed(moments) or self.goal.residual(moments) >= -error


def infeasible(goal: Goal, most: Bound, prior: Moments | Reference) -> Outcome:
    """The target is out of reach, and no β was visited for it."""
    kl = goal.quantity is Quantity.KL
    name, unit, least = ("C_D", " nats", prior.kl) if kl else ("C_f", "", prior.mean)
    text = (
        f"{name} = {goal.value:.4g}{unit} cannot be met: "
        f"the largest reached is {most.value:.4g} at β = {most.beta:.3g}"
    )
    remedy = f"target.{name}={least + 0.9 * (most.value - least):.3g}"
    return Outcome(Verdict(Status.INFEASIBLE), text, remedy)


def _state(search: Search, moments: Moments) -> Row:
    return {
        "goal": search.goal.value,
        "residual": search.goal.residual(moments),
        "tolerance": search.tolerance,
        "lower": search.lower,
        "upper": search.upper,
        "next_beta": math.nan if search.converged else search.beta,
        "converged": search.converged,
    }
