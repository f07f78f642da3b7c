"""One visit of a β: train q̂ there, warm-started from the last β, and judge it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch

from btgm_cli.core.contracts import Rescaled
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import Journal, Moments, PathPoint, Progress, Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.tilt.estimates import kl_gap
from btgm_cli.truth.evaluation import compare, evaluate_tilt
from btgm_cli.truth.references import ReferenceSource
from btgm_cli.truth.verdict import Thresholds, judge
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.flows import Flow
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning.fitting import (
    N_GUARD,
    N_PRIOR,
    STEPS,
    Pairs,
    calibrate,
    fit_acceptance,
    is_needed,
)
from btgm_cli.tuning.settings import Tuning
from btgm_cli.tuning.training import Schedule, Training, begin, train

FULL_RATE_MOVE = 0.2
"""A warm start whose β moves by at least this share trains at the full learning rate."""

SMALLEST_RATE = 0.1
"""Share of the learning rate that the smallest move of β gets."""

N_COMPARE = 2000
"""Draws of the reference that coverage and forward KL rest on."""


@dataclass
class Visits:
    """What every visit needs, and the points that the visits left, in order."""

    f: LatentCriterion
    flow: Flow
    acceptance: Acceptance | None
    settings: Tuning
    thresholds: Thresholds
    seed: int
    device: torch.device | str
    reference: ReferenceSource
    journal: Journal | None
    observe: Callable[[Progress], None] | None
    points: list[PathPoint] = field(default_factory=list)
    weights: tuple[float, ...] = ()

    @property
    def tuned(self) -> TunedModel:
        """The tuned model as it stands."""
        return TunedModel(self.f.model, self.flow, self.acceptance)

    def visit(
        self, beta: float, passes: int | None, enough: Callable[[Moments], bool]
    ) -> PathPoint:
        """Tune at β, warm-started from the last point, and judge it; or take it as finished."""
        index = len(self.points)
        finished = self.journal.points() if self.journal else []
        if index < len(finished):
            point = finished[index]
            self.flow.load_state_dict(point.flow_state)
            if self.acceptance:
                self.acceptance.load_state_dict(point.acceptance_state)
        else:
            point = self._tune_at(index, beta, passes, enough)
            if self.journal:
                self.journal.add_point(index, point)
        self.points.append(point)
        return point

    def _tune_at(
        self, index: int, beta: float, passes: int | None, enough: Callable[[Moments], bool]
    ) -> PathPoint:
        started = time.perf_counter()
        # Nothing to learn at β = 0 while the flow is still the identity.
        untouched = beta == 0 and not any(point.steps for point in self.points)
        steps, f_evals, finite = (0, 0, True) if untouched else self._train(index, beta, passes)
        point = examine(
            self.tuned,
            self.f,
            beta,
            self.reference,
            self.settings.n_eval,
            lambda purpose: self.generator(purpose, index),
            enough,
        )
        point = replace(
            point,
            steps=steps,
            f_evals=f_evals + point.f_evals,
            seconds=time.perf_counter() - started,
            finite=finite and point.finite,
            flow_state=self.flow.snapshot(),
            acceptance_state=self.acceptance.snapshot() if self.acceptance else {},
        )
        point = replace(point, weights=self.weights)
        return replace(point, status=judge(point, self.thresholds).status)

    def _train(self, index: int, beta: float, passes: int | None) -> tuple[int, int, bool]:
        """Train the flow, then the acceptance; returns steps, evaluations, and all finite."""
        training = self._train_flow(index, beta, passes)
        evals = training.step * self.settings.batch_size
        if self.acceptance:
            self.acceptance.open()
        if self.acceptance and training.finite:
            evals += self._fit(
                self.acceptance, beta, training, self.generator("acceptance", index)
            )
        return training.step, evals, training.finite

    def _fit(
        self,
        acceptance: Acceptance,
        beta: float,
        training: Training,
        generator: torch.Generator,
    ) -> int:
        """Fit and calibrate the acceptance, if the flow needs it; returns evaluations."""
        if not is_needed(self.f, self.flow, beta, generator):
            return N_GUARD
        # Drawn once; charged to the β that needs them first.
        evals = N_GUARD + N_PRIOR * ("_prior_pairs" not in vars(self))
        evals += fit_acceptance(
            acceptance,
            self.f,
            training.seen.pairs(),
            self._prior_pairs,
            beta,
            STEPS * training.step,
            generator,
        )
        return evals + calibrate(
            acceptance, self.f, self.flow, self.settings.acceptance, generator
        )

    @cached_property
    def _prior_pairs(self) -> Pairs:
        """Draws of p with f, for the acceptance alone: the reference has its own."""
        generator = derived_generator(self.seed, "acceptance", "prior", device=self.device)
        z = self.f.model.sample_prior(N_PRIOR, generator)
        return z, evaluate(self.f, z)

    def _train_flow(self, index: int, beta: float, passes: int | None) -> Training:
        settings, journal = self.settings, self.journal
        warm = any(point.steps for point in self.points)
        last = self.points[-1].moments.beta if self.points else 0.0
        schedule = Schedule(last, beta, settings.steps if warm else settings.first_steps)
        if warm:
            # The full rate would shake a trained flow by more than a small move of β asks for.
            move = min(1.0, max(self._moved(beta) / FULL_RATE_MOVE, SMALLEST_RATE))
            settings = replace(settings, learning_rate=move * settings.learning_rate)
        training = begin(self.flow, settings, self.generator("training", index))
        checkpoint = journal.training_state(index) if journal else None
        if checkpoint:
            training.load(checkpoint)

        def on_step(step: int, kl: float, mean: float) -> None:
            if self.observe:
                self.observe(Progress(index, beta, step, schedule.steps, kl, mean, passes))

        def save(state: dict[str, Any]) -> None:
            if journal:
                journal.save_training_state(index, state)

        train(self.f, training, schedule, settings, on_step=on_step, save=save)
        return training

    def _moved(self, beta: float) -> float:
        """How far the tilt is from the last one, as a share of it."""
        last = self.points[-1]
        if not (self.weights and last.weights):
            return abs(beta - last.moments.beta) / beta
        new = [beta * weight for weight in self.weights]
        old = [last.moments.beta * weight for weight in last.weights]
        return math.dist(new, old) / math.hypot(*new)

    def generator(self, purpose: str, index: int) -> torch.Generator:
        """For one purpose of one visit."""
        return derived_generator(self.seed, purpose, index, device=self.device)


def examine(
    tuned: TunedModel,
    f: LatentCriterion,
    beta: float,
    reference: ReferenceSource,
    n: int,
    generator: Callable[[str], torch.Generator],
    enough: Callable[[Moments], bool] = lambda _: True,
) -> PathPoint:
    """Hold a tuned model, however it came about, against the exact tilt.

    Args:
        tuned: q̂.
        f: the latent criterion f̂.
        beta: the tilt that it stands for.
        reference: the exact tilt.
        n: draws of q̂, at least.
        generator: one for each of the purposes "evaluation" and "compare".
        enough: are the errors of these moments small enough?

    Returns:
        The figures, with neither training nor verdict (`judge` gives it).
    """
    evaluation = evaluate_tilt(tuned, f, beta, n, generator("evaluation"), enough)
    exact = reference.at(beta)
    gap, gap_se = kl_gap(evaluation.moments, exact)
    particles = reference.particles(beta, N_COMPARE, generator("compare"))
    overlap = compare(tuned, f, beta, exact.log_z, evaluation, particles)
    share = overlap.coverage
    independent = max(min(float(N_COMPARE), exact.ess), 1.0)
    return PathPoint(
        moments=evaluation.moments,
        reference=exact,
        kl_gap=gap,
        kl_gap_se=gap_se,
        ess_fraction=evaluation.ess_fraction,
        pareto_k=evaluation.pareto_k,
        log_z=evaluation.log_z,
        log_z_se=evaluation.log_z_se,
        coverage=share,
        coverage_se=math.sqrt(share * (1 - share) / independent),
        precision=overlap.precision,
        forward_kl=overlap.forward_kl,
        acceptance=tuned.acceptance.rate if tuned.acceptance else 1.0,
        class_shares=evaluation.class_shares,
        class_shares_ref=overlap.class_shares_ref,
        steps=0,
        f_evals=evaluation.moments.n,
        seconds=0.0,
        finite=math.isfinite(evaluation.moments.loss),
        beta_own=beta * (f.criterion.own_beta if isinstance(f.criterion, Rescaled) else 1.0),
        beta_normalized=beta * math.sqrt(max(reference.at(0.0).var, 0.0)),
        weights=(),
        status=Status.OK,
        flow_state={},
    )
