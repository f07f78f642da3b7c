"""Algorithm 1: a warm-started sequence of tilts, along a given path or towards a target."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from btgm_cli import beta as second_order
from btgm_cli.beta import Goal, Quantity, Search
from btgm_cli.core import (
    Criterion,
    GenerativeModel,
    Journal,
    Moments,
    PathPoint,
    Progress,
    Status,
    Target,
)
from btgm_cli.flows import Flow, InverseAutoregressive
from btgm_cli.references import ReferenceSource, reference_for
from btgm_cli.sampling import TunedModel
from btgm_cli.seeds import derived_generator
from btgm_cli.tilt import kl_gap
from btgm_cli.tuning.checks import check_pair
from btgm_cli.tuning.evaluation import evaluate_tilt
from btgm_cli.tuning.feasibility import bound
from btgm_cli.tuning.settings import Tuning
from btgm_cli.tuning.training import Schedule, begin, train

FULL_RATE_MOVE = 0.2
"""A warm start whose β moves by at least this share trains at the full learning rate."""

SMALLEST_RATE = 0.1
"""Share of the learning rate that the smallest move of β gets."""


@dataclass(frozen=True)
class TuneResult:
    """What Algorithm 1 leaves.

    Args:
        status: OK, or why the target was missed.
        message: one sentence on how the run ended.
        remedy: what to type or change where the status is not OK, else empty.
        points: one per pass, in order; the last one is the result.
        trace: one row per pass with the search's state, as plain data.
        tuned: the tuned model of the last pass.
    """

    status: Status
    message: str
    remedy: str
    points: list[PathPoint]
    trace: list[dict[str, Any]]
    tuned: TunedModel

    @property
    def beta(self) -> float:
        """The β of the last pass."""
        return self.points[-1].moments.beta


@dataclass
class _Run:
    """One run of Algorithm 1: what every pass needs, and what the passes left."""

    model: GenerativeModel
    criterion: Criterion
    flow: Flow
    settings: Tuning
    seed: int
    device: torch.device | str
    reference: ReferenceSource
    journal: Journal | None
    observe: Callable[[Progress], None] | None
    points: list[PathPoint]

    def visit(self, beta: float, passes: int | None, goal: Goal | None = None) -> PathPoint:
        """Tune at β, warm-started from the last point, and judge it; or take it as finished."""
        index = len(self.points)
        finished = self.journal.points() if self.journal else []
        if index < len(finished):
            point = finished[index]
            self.flow.load_state_dict(point.flow_state)
        else:
            point = self._tune_at(index, beta, passes, goal)
            if self.journal:
                self.journal.add_point(index, point)
        self.points.append(point)
        return point

    def _tune_at(
        self, index: int, beta: float, passes: int | None, goal: Goal | None
    ) -> PathPoint:
        started = time.perf_counter()
        # Nothing to learn at β = 0 while the flow is still the identity.
        untouched = beta == 0 and not any(point.steps for point in self.points)
        steps, finite = (0, True) if untouched else self._train(index, beta, passes)
        moments, ess_fraction = evaluate_tilt(
            self.model,
            self.criterion,
            self.flow,
            beta,
            self.settings.n_eval,
            derived_generator(self.seed, "evaluation", index, device=self.device),
            lambda moments: goal is None or _precise(goal, moments),
        )
        reference = self.reference.at(beta)
        gap, gap_se = kl_gap(moments, reference)
        finite = finite and math.isfinite(moments.loss)
        return PathPoint(
            moments=moments,
            reference=reference,
            kl_gap=gap,
            kl_gap_se=gap_se,
            ess_fraction=ess_fraction,
            steps=steps,
            f_evals=steps * self.settings.batch_size + moments.n,
            seconds=time.perf_counter() - started,
            status=Status.OK if finite else Status.NONFINITE,
            flow_state=self.flow.snapshot(),
        )

    def _train(self, index: int, beta: float, passes: int | None) -> tuple[int, bool]:
        settings, journal = self.settings, self.journal
        warm = any(point.steps for point in self.points)
        last = self.points[-1].moments.beta if self.points else 0.0
        schedule = Schedule(last, beta, settings.steps if warm else settings.first_steps)
        if warm:
            # The full rate would shake a trained flow by more than a small move of β asks for.
            move = min(1.0, max(abs(beta - last) / (FULL_RATE_MOVE * beta), SMALLEST_RATE))
            settings = replace(settings, learning_rate=move * settings.learning_rate)
        generator = derived_generator(self.seed, "training", index, device=self.device)
        training = begin(self.flow, settings, generator)
        checkpoint = journal.training_state(index) if journal else None
        if checkpoint:
            training.load(checkpoint)

        def on_step(step: int, kl: float, mean: float) -> None:
            if self.observe:
                self.observe(Progress(index, beta, step, schedule.steps, kl, mean, passes))

        def save(state: dict[str, Any]) -> None:
            if journal:
                journal.save_training_state(index, state)

        train(self.model, self.criterion, training, schedule, settings, on_step=on_step, save=save)
        return training.step, training.finite


def tune(
    model: GenerativeModel,
    criterion: Criterion,
    *,
    target: Target | None = None,
    flow: Flow | None = None,
    settings: Tuning | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    reference: ReferenceSource | None = None,
    journal: Journal | None = None,
    observe: Callable[[Progress], None] | None = None,
) -> TuneResult:
    """Tune `model` towards `criterion` (Algorithm 1 of Berger & Sebag 2021).

    Args:
        model: a frozen generator; it and the criterion must be on `device`.
        criterion: f, larger is better, differentiable.
        target: what to meet; by default the path of the paper's Fig. 5.
        flow: an untrained flow on the latent space; by default the paper's six-layer IAF. It is
            trained in place.
        settings: of the training and evaluation.
        seed: of everything random; the same seed gives the same numbers on the CPU, to the bit.
        device: where the draws are made.
        reference: the exact tilt; by default closed form where known, else importance sampling.
        journal: keeps finished points; given a journal with points, goes on from there.
        observe: told the progress of each training step.

    Raises:
        SettingError: the model, the criterion or a setting cannot be used.
    """
    target, settings = target or Target(), settings or Tuning()
    check_pair(model, criterion, derived_generator(seed, "check", device=device))
    flow = (flow or InverseAutoregressive(model.latent_dim, seed=seed)).to(device)
    if reference is None:
        draws = derived_generator(seed, "reference", device=device)
        reference = reference_for(model, criterion, settings.n_reference, draws)
    run = _Run(
        model, criterion, flow, settings, seed, device, reference, journal, observe, points=[]
    )
    if target.path is not None:
        return _follow(run, target.path)
    return _search(run, _goal(target, settings))


def _goal(target: Target, settings: Tuning) -> Goal:
    if target.C_f is not None:
        return Goal(Quantity.MEAN, target.C_f, settings.tolerance)
    budget = target.C_D if target.C_D is not None else -math.log(target.rho or 1.0)
    return Goal(Quantity.KL, budget, settings.tolerance)


def _precise(goal: Goal, moments: Moments) -> bool:
    """Is the Monte-Carlo error well within the tolerance?"""
    return 2 * goal.error(moments) <= goal.tolerance * abs(goal.value)


def _follow(run: _Run, path: tuple[float, ...]) -> TuneResult:
    """Visit the given betas in order."""
    trace: list[dict[str, Any]] = []
    for beta in path:
        point = run.visit(beta, passes=len(path))
        trace.append(_trace_row(len(trace), point))
        if point.status is not Status.OK:
            return _finish(run, trace, point.status, *_nonfinite(point))
    gap = max(point.kl_gap for point in run.points)
    ess = min(point.ess_fraction for point in run.points)
    text = (
        f"{len(path)} tilts tuned, kl_gap at most {gap:.3g} nats, ess_fraction at least {ess:.3g}"
    )
    return _finish(run, trace, Status.OK, text, "")


def _search(run: _Run, goal: Goal) -> TuneResult:
    """Look for the β that meets `goal`, by second-order updates from β = 0."""
    point = run.visit(0.0, passes=None, goal=goal)
    search = second_order.init(goal, point.moments)
    trace = [_trace_row(0, point, search)]
    most = None if search.converged else bound(goal, run.reference)
    if most is not None:
        largest = f"{most.value:.4g} at β = {most.beta:.3g}"
        name, unit = ("C_D", " nats") if goal.quantity is Quantity.KL else ("C_f", "")
        message = (
            f"{name} = {goal.value:.4g}{unit} cannot be met: the largest reached is {largest}"
        )
        prior = point.moments.kl if goal.quantity is Quantity.KL else point.moments.mean
        remedy = f"target.{name}={prior + 0.9 * (most.value - prior):.3g}"
        return _finish(run, trace, Status.INFEASIBLE, message, remedy)
    while not search.converged and search.updates < run.settings.max_updates:
        point = run.visit(search.beta, passes=None, goal=goal)
        if point.status is not Status.OK:
            trace.append(_trace_row(len(trace), point, search))
            return _finish(run, trace, point.status, *_nonfinite(point))
        search = second_order.update(search, point.moments)
        trace.append(_trace_row(len(trace), point, search))
    reached = point.moments.kl if goal.quantity is Quantity.KL else point.moments.mean
    text = f"{goal.quantity} {reached:.4g} for a target of {goal.value:.4g} at β = {{:.4g}}"
    text = text.format(point.moments.beta) + f" after {search.updates} updates"
    if search.converged:
        return _finish(run, trace, Status.OK, text, "")
    remedy = f"tuning.steps={2 * run.settings.steps}"
    return _finish(run, trace, Status.MAX_UPDATES, text, remedy)


def _nonfinite(point: PathPoint) -> tuple[str, str]:
    message = (
        f"the loss or its gradient was not finite at β = {point.moments.beta:.4g}, "
        f"after {point.steps} steps"
    )
    return message, "check the criterion for NaN or infinite values, or lower tuning.learning_rate"


def _finish(
    run: _Run, trace: list[dict[str, Any]], status: Status, message: str, remedy: str
) -> TuneResult:
    tuned = TunedModel(run.model, run.flow)
    return TuneResult(status, message, remedy, run.points, trace, tuned)


def _trace_row(index: int, point: PathPoint, search: Search | None = None) -> dict[str, Any]:
    """One pass as plain data; `lower`, `upper` and `next_beta` are the search's after it."""
    moments = point.moments
    row: dict[str, Any] = {
        "pass": index,
        "beta": moments.beta,
        "kl": moments.kl,
        "kl_se": moments.kl_se,
        "mean_f": moments.mean,
        "mean_f_se": moments.mean_se,
        "var_f": moments.var,
        "m3_f": moments.m3,
        "status": str(point.status),
    }
    if search is not None:
        row |= {
            "goal": search.goal.value,
            "residual": search.goal.residual(moments),
            "tolerance": search.tolerance,
            "lower": search.lower,
            "upper": search.upper,
            "next_beta": math.nan if search.converged else search.beta,
            "converged": search.converged,
        }
    return row
