"""One visit of a β: train q̂ there, warm-started from the last β, and judge it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Effort, Journal, PathPoint, Progress
from btgm_cli.core.seeds import derived_generator
from btgm_cli.truth.evaluation import examine
from btgm_cli.truth.references import reference_for
from btgm_cli.truth.verdict import judge
from btgm_cli.truth.wide import wide_draws
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuned.regression import Pairs, Pool, joined
from btgm_cli.tuning.fitting import (
    N_GUARD,
    STEPS,
    calibrate,
    fit_acceptance,
    is_needed,
)
from btgm_cli.tuning.known import KnownOfPrior, climbed
from btgm_cli.tuning.learning import Lesson, pairs_of
from btgm_cli.tuning.preconditioning import Preconditioner, Start
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.resumed import require_same
from btgm_cli.tuning.settings import Gradient, Tuning
from btgm_cli.tuning.settled import is_beside, last_trained, moved
from btgm_cli.tuning.surrogate import state_of
from btgm_cli.tuning.teacher import Teacher
from btgm_cli.tuning.tilts import Tilt
from btgm_cli.tuning.training import ASKING, Schedule, Trained, Training, train, warm_share
from btgm_cli.tuning.watched import Watched

Numbers = tuple[float, ...]


class Visits:
    """What every visit needs, and the points that the visits left, in order.

    Args:
        problem: what is tuned.
        reference: the exact tilt of its criterion, where the best that is known will not do.
        passes: visits that are planned, if that is known.
        journal: keeps finished points, and gives those of an earlier, interrupted run.
        observe: told the progress of each training step.
    """

    def __init__(
        self,
        problem: Problem,
        reference: ReferenceSource | None,
        passes: int | None,
        journal: Journal | None,
        observe: Callable[[Progress], None] | None,
    ) -> None:
        settings = problem.settings
        self._problem, self.settings = problem, settings
        self.f, self.flow = problem.f, problem.flow
        self.acceptance: Acceptance | None = None
        if settings.min_acceptance_rate < 1:
            learned = Acceptance(self.f.model.latent_dim, problem.seed)
            self.acceptance = learned.to(problem.device)
        self._reference = reference
        self.weights: Numbers = ()
        self._multiplying = 0
        self.points: list[PathPoint] = []
        self._journal, self._watched = journal, Watched(passes, journal, observe)
        self._known = self._known_of_prior()
        self._teacher = self._teacher_of_tilts()
        follows = settings.gradient in ASKING
        self._preconditioner = Preconditioner(self.flow) if follows else None
        self._asked: list[Pairs] = []
        self._of_p: list[Pairs] = []

    @property
    def tuned(self) -> TunedModel:
        """The tuned model as it stands."""
        return TunedModel(self.f.model, self.flow, self.acceptance)

    @property
    def _learns_first(self) -> bool:
        """Does the flow follow what was learned of f?"""
        return bool(self.acceptance) and self.settings.gradient is Gradient.SURROGATE

    @property
    def reference(self) -> ReferenceSource:
        """The exact tilt of f; made, with its draws of p, when it is first asked for."""
        if self._reference is None:
            problem, settings = self._problem, self.settings
            self._reference = reference_for(
                self.remembering(self.f),
                settings.n_reference,
                settings.n_particles,
                problem.seed,
                problem.device,
            )
        return self._reference

    def turn_to(
        self, f: LatentCriterion, reference: ReferenceSource, weights: Numbers, cuts: Numbers = ()
    ) -> None:
        """Go on with another sum of the same terms, cut there, and its exact tilt."""
        self.f, self._reference = f, reference
        self.weights, self._multiplying = (*weights, *cuts), len(weights)
        self._known, self._asked, self._of_p = self._known_of_prior(), [], []
        self._teacher = self._teacher_of_tilts()

    def remembering(self, f: LatentCriterion, *weights: float) -> LatentCriterion:
        """F, evaluated once alone where the journal keeps what has been paid for.

        Args:
            f: the criterion of the problem, or another sum of its terms.
            weights: of the terms in that sum.
        """
        return f.remembering(self._journal.paid if self._journal else None, *weights)

    def visit(self, tilt: Tilt) -> PathPoint:
        """Tune at a tilt, warm-started, and judge it; or take it as finished.

        Raises:
            SettingError: what the journal has in this place is another tilt.
        """
        index = len(self.points)
        finished = self._journal.points() if self._journal else []
        if index < len(finished):
            point = finished[index]
            require_same(point, index, (tilt.beta, *self.weights), self.settings, self.acceptance)
            self._take_over(point)
        else:
            point = self._tune_at(index, tilt)
            if self._journal:
                self._journal.add_point(index, point)
        self.points.append(point)
        if point.paid:
            kept = self._asked if last_trained(self.points) else self._of_p
            kept.append(pairs_of(point.paid, self._problem.device))
        return point

    def _take_over(self, point: PathPoint) -> None:
        """Stand where the run stood when this point was finished."""
        self.flow.restore(point.flow_state)
        if self.acceptance:
            self.acceptance.load_state_dict(point.acceptance_state)
            self._known.charged |= self.acceptance.beta.item() == point.beta != 0
        self.reference.at(point.beta)  # what it spends depends on what it has been asked
        if self._teacher and point.effort.steps:
            self._teacher.reach(point.beta)

    def _tune_at(self, index: int, tilt: Tilt) -> PathPoint:
        started, beta = time.perf_counter(), tilt.beta
        # Nothing to learn at β = 0 while the flow is still the identity.
        untouched = beta == 0 and not last_trained(self.points)
        trained = Trained() if untouched or tilt.stays else self._train(index, beta)
        paid = list(trained.paid)
        figures = examine(
            self.tuned,
            self.f,
            beta,
            self.reference,
            self.settings.n_eval,
            lambda purpose: self.generator(purpose, index),
            tilt.enough,
            lambda z, f: paid.append((z, f)),
            of_kl=tilt.of_kl,
        )
        effort = Effort(
            steps=trained.steps,
            f_evals=trained.f_evals + figures.moments.n + wide_draws(self.f),
            f_gradients=trained.f_gradients,
            seconds=time.perf_counter() - started,
            finite=trained.finite and math.isfinite(figures.moments.loss),
        )
        return PathPoint(
            figures=figures,
            effort=effort,
            verdict=judge(figures, effort, self._problem.thresholds),
            weights=self.weights,
            flow_state=self.flow.snapshot(),
            acceptance_state=self.acceptance.snapshot() if self.acceptance else {},
            paid=state_of(paid) if self._learns_first else {},
        )

    def _train(self, index: int, beta: float) -> Trained:
        """Train the flow and fit the acceptance."""
        start = Start()
        if self._preconditioner:
            start = self._preconditioner.place(self.f, beta, self.generator("pilot", index))
        training, settings = self._training(index, beta, start)
        if self.acceptance and self._learns_first:
            return self._learn_first(self.acceptance, index, training, settings)
        if checkpoint := self._watched.checkpoint(index):
            training.load(checkpoint)
        on_step, save = self._watched.observers(index, training.schedule)
        evals = self._teacher.teach(training, index) if self._teacher else 0
        if training.finite:
            train(self.f, training, settings, on_step=on_step, save=save)
        evals += training.step * settings.batch_size if settings.gradient in ASKING else 0
        if self.acceptance:
            self.acceptance.open()
        followed = evals if settings.gradient is Gradient.REPARAMETRISED else 0
        if self._teacher and training.finite:
            evals += self._teacher.examine(training, index)
        if self.acceptance and training.finite:
            evals += self._fit(self.acceptance, index, training)
        return Trained(training.step, evals + start.f_evals, followed, training.finite)

    def _learn_first(
        self, acceptance: Acceptance, index: int, training: Training, settings: Tuning
    ) -> Trained:
        """Learn f, let the flow follow what was learned, and calibrate the acceptance.

        Beside the last tilt only the acceptance is moved, unless it would open.
        """
        beta = training.schedule.beta
        settled, exact = self._settled(acceptance, beta, index), self.reference.at(beta)
        if settled and not acceptance.is_open:
            return Trained(f_evals=len(settled[0][1]), paid=settled)
        prior, evals = self._known.shared(self.reference, self.settings.n_reference)
        lesson = Lesson(
            self.f,
            acceptance,
            Pool(joined([prior, *self._of_p]), [*self._asked, *settled], climbed(self.reference)),
            exact.mean,
            training,
            settings,
            lambda *purpose: self.generator(*purpose, index),
        )
        if checkpoint := self._watched.checkpoint(index):
            lesson.load(checkpoint)
        acceptance.open()
        lesson.run(*self._watched.observers(index, training.schedule))
        paid = (*settled, *lesson.paid)
        if training.finite:
            paid = (*paid, self._calibrated(acceptance, self.generator("acceptance", index)))
        evals += sum(len(f) for _, f in paid)
        return Trained(training.step, evals, 0, training.finite, paid)

    def _settled(self, acceptance: Acceptance, beta: float, index: int) -> tuple[Pairs, ...]:
        """Move the acceptance alone to a tilt beside the last one; what that asked, if it is."""
        last = last_trained(self.points)
        if acceptance.is_open or not last:
            return ()
        if not is_beside(self.reference, last, beta, self.weights):
            return ()
        acceptance.beta.fill_(beta)
        return (self._calibrated(acceptance, self.generator("settled", index)),)

    def _calibrated(self, acceptance: Acceptance, generator: torch.Generator) -> Pairs:
        least = self.settings.min_acceptance_rate
        return calibrate(acceptance, self.f, self.flow, least, generator)

    def _fit(self, acceptance: Acceptance, index: int, training: Training) -> int:
        """Fit and calibrate the acceptance, if the flow needs it; returns evaluations."""
        beta, generator = training.schedule.beta, self.generator("acceptance", index)
        if not is_needed(self.f, self.flow, beta, self.reference.at(beta).log_z, generator):
            return N_GUARD
        prior, evals = self._known.apart()
        seen, steps = training.seen.pairs(), STEPS * training.step
        evals += fit_acceptance(acceptance, self.f, seen, prior, beta, steps, generator)
        return N_GUARD + evals + len(self._calibrated(acceptance, generator)[1])

    def _known_of_prior(self) -> KnownOfPrior:
        f = self.remembering(self.f, *self.weights)
        return KnownOfPrior(f, lambda: self.generator("acceptance", "prior"))

    def _teacher_of_tilts(self) -> Teacher | None:
        if self.settings.gradient is not Gradient.PARTICLES:
            return None
        f = self.remembering(self.f, *self.weights)
        return Teacher(f, self.settings.n_learn, self.generator)

    def _training(self, index: int, beta: float, start: Start) -> tuple[Training, Tuning]:
        """A fresh training of the flow, and its settings."""
        settings, last = self.settings, None if start.anew else last_trained(self.points)
        steps = settings.steps if last else settings.first_steps
        before = beta if start.placed else last.beta if last else 0.0
        schedule = Schedule(before, beta, steps)
        if last:
            step = moved(last, beta, self.weights[: self._multiplying])
            settings = replace(settings, learning_rate=settings.learning_rate * warm_share(step))
        generator = self.generator("training", index)
        return Training(self.flow, settings, schedule, generator), settings

    def generator(self, *purpose: object) -> torch.Generator:
        """For one purpose, such as that of one visit."""
        return derived_generator(self._problem.seed, *purpose, device=self._problem.device)
