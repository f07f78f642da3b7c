"""Several targets at once by a sum whose weights are sought: what all ways of asking share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from btgm_cli.core.contracts import Criterion, ReferenceSource, Summed
from btgm_cli.core.results import Particles, PathPoint, Status, Verdict
from btgm_cli.core.seeds import derived_generator
from btgm_cli.tilt.search import Goal, Quantity
from btgm_cli.truth.references import reference_for
from btgm_cli.tuning.contradiction import Contradiction
from btgm_cli.tuning.feasibility import Bound, prospect
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.strategy import UNFINISHED, Outcome, Row
from btgm_cli.tuning.tilts import Tilt
from btgm_cli.tuning.visit import Visits

CONSTANT = 1e-6
"""A sum that varies by less, beside its terms, varies by rounding."""

MOST_LOOKS = 10
"""At one model between two visits."""


class SoughtSum(ABC):
    """Tune to the tilt closest to p that grants every wish: a `Strategy`.

    The next multipliers λ come from draws of the last tuned model, with their covariance as the
    Jacobian. β is told as Σ |λᵢ| σᵢ, with σᵢ the deviation of term i, so that it measures the
    tilt's strength. f is evaluated once on draws of p, which serve the first step, the look for
    contradictions and the reference of each sum.

    Args:
        problem: with a sum as criterion, and wishes for its terms.
    """

    passes = None

    def __init__(self, problem: Problem) -> None:
        criterion = problem.f.criterion
        assert isinstance(criterion, Summed)
        self._problem, self._criterion = problem, criterion
        self._refused: Contradiction | None = None
        self._met = self._looked = False
        self._row: Row = {}
        self.f_evals = 0

    def first(self, visits: Visits) -> Tilt:
        """P itself, whose draws are those of every reference."""
        problem, self._remembering = self._problem, visits.remembering
        generator = derived_generator(problem.seed, "reference", device=problem.device)
        self._z = problem.f.model.sample_prior(problem.settings.n_reference, generator)
        self._see_prior(self._z)
        self.f_evals += len(self._z)
        weights = tuple(self._criterion.weights.values())
        visits.turn_to(problem.f, self._reference_of(self._criterion, weights), ())
        return Tilt(0.0)

    def next(self, visits: Visits) -> Tilt | None:
        """The tilt by the multipliers that the last model's draws ask for."""
        first = len(visits.points) == 1
        if not (first or self._looked):
            self._look(visits)
        self._row = self._state()
        self._met = self._is_met()
        last = len(visits.points) > self._problem.settings.max_updates
        if not self._met and (first or last):
            self._refused = self._contradiction()
        if self._met or self._refused or last:
            return None
        beta, weights, cuts = self._settled_step(visits)
        if not beta:  # p itself, by draws that contradict the first look's
            return None
        self.f_evals += visits.reference.f_evals  # of the sum that is left behind
        criterion = self._weighted(weights, cuts)
        reference = self._reference_of(criterion, (*weights, *cuts))
        visits.turn_to(self._problem.f.of(criterion), reference, weights, cuts)
        return Tilt(beta, stays=self._stays())

    def _settled_step(self, visits: Visits) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
        """The next step; where the model stays, as many as it takes to grant the wishes.

        A visit that trains nothing would tell no more of them, and costs a reference.
        """
        step, self._looked = self._step(), False
        for _ in range(MOST_LOOKS):
            if not self._stays():
                break
            self._look(visits)
            self._looked = self._is_met()
            if self._looked:
                break
            step = self._step()
        return step

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
        if verdict.status in (Status.OK, Status.OK_CORRECTED):
            verdict = self._judged(verdict) if self._met else UNFINISHED
        text = f"{self._told()}; KL {points[-1].figures.moments.kl:.4g} nats"
        return Outcome(verdict, f"{text}; {verdict.reason}" if verdict.reason else text)

    def _reference_of(self, criterion: Criterion, name: tuple[float, ...]) -> ReferenceSource:
        """The exact tilt of a sum, from the draws of p at hand.

        Args:
            criterion: the sum.
            name: its weights, which tell it from others.
        """
        problem, settings = self._problem, self._problem.settings
        return reference_for(
            self._remembering(problem.f.of(criterion), *name),
            settings.n_reference,
            settings.n_particles,
            problem.seed,
            problem.device,
            start=Particles(self._z, self._on_prior(criterion).to(self._z)),
        )

    def _most_of(
        self, criterion: Criterion, name: tuple[float, ...], asked: float
    ) -> Bound | None:
        """The largest mean of a sum, where that is less than what is asked."""
        reference = self._reference_of(criterion, name)
        most = prospect(Goal(Quantity.MEAN, asked), reference).most
        self.f_evals += reference.f_evals
        return most

    def _stays(self) -> bool:
        """Is the next tilt so near the one the model was trained for that it need not follow?

        It must where its own means are what is asked.
        """
        return False

    def _judged(self, verdict: Verdict) -> Verdict:
        """The verdict on a run whose last model was found right, and its exact tilt as wished."""
        return verdict

    @abstractmethod
    def _see_prior(self, z: Tensor) -> None:
        """Evaluate what the wishes are for on draws z of p, shape (n, D)."""

    @abstractmethod
    def _look(self, visits: Visits) -> None:
        """Evaluate it on draws of the tuned model as it stands."""

    @abstractmethod
    def _on_prior(self, criterion: Criterion) -> Tensor:
        """A sum on the draws of p, shape (n,), without asking f again."""

    @abstractmethod
    def _is_met(self) -> bool:
        """Is every wish granted, and none by more than it asks unless it costs nothing?"""

    @abstractmethod
    def _contradiction(self) -> Contradiction | None:
        """Why no tilt grants the wishes, if that can be told."""

    @abstractmethod
    def _step(self) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
        """The next β, the weights λ/β and where the terms are cut; β = 0 is p itself."""

    @abstractmethod
    def _weighted(self, weights: tuple[float, ...], cuts: tuple[float, ...]) -> Criterion:
        """The sum."""

    @abstractmethod
    def _state(self) -> Row:
        """Each wish, its multiplier, and what was reached."""

    @abstractmethod
    def _told(self) -> str:
        """The same in words."""
