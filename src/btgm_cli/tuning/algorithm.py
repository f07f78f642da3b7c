"""Algorithm 1: a warm-started sequence of tilts, along a given path or towards a target."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.contracts import Criterion, GenerativeModel, Summed
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Journal, Moments, PathPoint, Progress, Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.tilt import search as second_order
from btgm_cli.tilt.search import Goal, Quantity, Search
from btgm_cli.truth.references import ReferenceSource, reference_for
from btgm_cli.truth.verdict import Thresholds, Verdict, hopeless, judge, worst
from btgm_cli.tuned.acceptance import Acceptance
from btgm_cli.tuned.flows import Flow
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning.feasibility import Bound, bound
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.settings import Gradient, Tuning
from btgm_cli.tuning.several import Outcome, search_several
from btgm_cli.tuning.visit import Visits


@dataclass(frozen=True)
class TuneResult:
    """What Algorithm 1 leaves.

    Args:
        status: the verdict; on a path, that of its worst point.
        message: one sentence on how the run ended and why.
        remedy: settings of the same command that would mend it, `correct=…` of `btgm sample`, or
            words; empty where the status is OK.
        points: one per pass, in order; the last one is the result.
        trace: one row per pass with the search's state, as plain data.
        tuned: the tuned model of the last pass.
        gradient: how the flow learned from f.
        f: the latent criterion of the last pass; a sum whose weights were sought has them.
        reference: the exact tilt of that criterion.
    """

    status: Status
    message: str
    remedy: str
    points: list[PathPoint]
    trace: list[dict[str, Any]]
    tuned: TunedModel
    gradient: Gradient
    f: LatentCriterion
    reference: ReferenceSource

    @property
    def beta(self) -> float:
        """The β of the last pass."""
        return self.points[-1].moments.beta

    def sample(self, n: int, *, seed: int = 0) -> Tensor:
        """Draw x of shape (n, *X) from the tuned model."""
        device = next(self.tuned.flow.parameters()).device
        return self.tuned.sample(n, derived_generator(seed, device=device))


def tune(
    model: GenerativeModel,
    criterion: Criterion,
    *,
    target: Target | None = None,
    flow: Flow | None = None,
    settings: Tuning | None = None,
    thresholds: Thresholds | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    reference: ReferenceSource | None = None,
    journal: Journal | None = None,
    observe: Callable[[Progress], None] | None = None,
) -> TuneResult:
    """Tune `model` towards `criterion` (Algorithm 1 of Berger & Sebag 2021).

    Args:
        model: a frozen generator; it and the criterion must be on `device`.
        criterion: f, larger is better; without a gradient it is learned by the score.
        target: what to meet; by default the path of the paper's Fig. 5.
        flow: an untrained flow on the latent space; by default the paper's six-layer IAF. It is
            trained in place.
        settings: of the training and evaluation.
        thresholds: of the verdict.
        seed: of everything random; the same seed gives the same numbers on the CPU, to the bit.
        device: where the draws are made.
        reference: the exact tilt; by default closed form where known, else importance sampling,
            else tempered SMC.
        journal: keeps finished points; given a journal with points, goes on from there.
        observe: told the progress of each training step.

    Raises:
        SettingError: the model, the criterion or a setting cannot be used.
    """
    problem = Problem.checked(
        model,
        criterion,
        target=target,
        flow=flow,
        settings=settings,
        thresholds=thresholds,
        seed=seed,
        device=device,
    )
    return solve(problem, reference=reference, journal=journal, observe=observe)


def solve(
    problem: Problem,
    *,
    reference: ReferenceSource | None = None,
    journal: Journal | None = None,
    observe: Callable[[Progress], None] | None = None,
) -> TuneResult:
    """Tune a problem that was checked; its flow is trained in place. Arguments as for `tune`."""
    f, settings, target = problem.f, problem.settings, problem.target
    learned = settings.acceptance < 1
    acceptance = Acceptance(f.model.latent_dim, problem.seed) if learned else None

    def reference_of(f: LatentCriterion) -> ReferenceSource:
        sizes = settings.n_reference, settings.n_particles
        return reference_for(f, *sizes, problem.seed, problem.device)

    visits = Visits(
        f=f,
        flow=problem.flow,
        acceptance=acceptance.to(problem.device) if acceptance else None,
        settings=settings,
        thresholds=problem.thresholds,
        seed=problem.seed,
        device=problem.device,
        reference=reference or reference_of(f),
        journal=journal,
        observe=observe,
    )
    if target.path is not None:
        return _follow(visits, target.path)
    if target.at_least is not None:
        wishes = _in_order(target, f.criterion)
        return _finish_several(search_several(visits, wishes, reference_of))
    return _search(visits, _goal(target, settings))


def _goal(target: Target, settings: Tuning) -> Goal:
    if target.C_f is not None:
        return Goal(Quantity.MEAN, target.C_f, settings.tolerance)
    budget = target.C_D if target.C_D is not None else -math.log(target.rho or 1.0)
    return Goal(Quantity.KL, budget, settings.tolerance)


def _follow(visits: Visits, path: tuple[float, ...]) -> TuneResult:
    """Visit the given betas in order."""
    trace: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    for beta in path:
        point = visits.visit(beta, passes=len(path), enough=lambda _: True)
        trace.append(_trace_row(len(trace), point))
        verdicts.append(judge(point, visits.thresholds))
        if hopeless(point):
            break
    verdict = worst(verdicts)
    points = visits.points
    if hopeless(points[-1]):
        return _finish(visits, trace, verdict, verdict.reason)
    text = (
        f"{len(points)} tilts tuned, kl_gap at most {max(p.kl_gap for p in points):.3g} nats, "
        f"ess_fraction at least {min(p.ess_fraction for p in points):.3g}"
    )
    at = points[verdicts.index(verdict)].moments.beta
    if verdict.reason:
        text += f"; at β = {at:.4g}: {verdict.reason}"
    remedy = f"beta={at:.6g} correct=resample" if verdict.status is Status.OK_CORRECTED else ""
    return _finish(visits, trace, verdict, text, remedy)


def _search(visits: Visits, goal: Goal) -> TuneResult:
    """Look for the β that meets `goal`, by second-order updates from β = 0."""

    def precise(moments: Moments) -> bool:
        return 2 * goal.error(moments) <= goal.tolerance * abs(goal.value)

    point = visits.visit(0.0, passes=None, enough=precise)
    if hopeless(point):
        verdict = judge(point, visits.thresholds)
        return _finish(visits, [_trace_row(0, point)], verdict, verdict.reason)
    search = second_order.init(goal, point.moments)
    trace = [_trace_row(0, point, search)]
    most = None if search.converged else bound(goal, visits.reference)
    if most is not None:
        return _infeasible(visits, trace, goal, most)
    while not search.converged and search.updates < visits.settings.max_updates:
        point = visits.visit(search.beta, passes=None, enough=precise)
        if hopeless(point):
            trace.append(_trace_row(len(trace), point, search))
            break
        search = second_order.update(search, point.moments)
        trace.append(_trace_row(len(trace), point, search))
    reached = point.moments.kl if goal.quantity is Quantity.KL else point.moments.mean
    text = (
        f"{goal.quantity} {reached:.4g} for a target of {goal.value:.4g} "
        f"at β = {point.moments.beta:.4g} after {search.updates} updates"
    )
    verdict = judge(point, visits.thresholds)
    if verdict.status in (Status.OK, Status.OK_CORRECTED) and not search.converged:
        raised = ("max_updates", "steps")
        verdict = Verdict(Status.UNDERTRAINED, "the search did not end there", raised)
    if verdict.reason:
        text += f"; {verdict.reason}"
    return _finish(visits, trace, verdict, text)


def _in_order(target: Target, criterion: Criterion) -> dict[str, float]:
    """The wishes in the order of the sum's terms."""
    assert isinstance(criterion, Summed)
    assert target.at_least is not None
    return {name: target.at_least[name] for name in criterion.terms}


def _finish_several(outcome: Outcome) -> TuneResult:
    points = outcome.visits.points
    trace = [
        _trace_row(index, point) | row
        for index, (point, row) in enumerate(zip(points, outcome.rows, strict=False))
    ]
    return _finish(outcome.visits, trace, outcome.verdict, outcome.text, outcome.remedy)


def _infeasible(
    visits: Visits, trace: list[dict[str, Any]], goal: Goal, most: Bound
) -> TuneResult:
    """The target is out of reach, and no β is visited for it."""
    prior = visits.points[0].moments
    kl = goal.quantity is Quantity.KL
    name, unit, least = ("C_D", " nats", prior.kl) if kl else ("C_f", "", prior.mean)
    text = (
        f"{name} = {goal.value:.4g}{unit} cannot be met: "
        f"the largest reached is {most.value:.4g} at β = {most.beta:.3g}"
    )
    remedy = f"target.{name}={least + 0.9 * (most.value - least):.3g}"
    return _finish(visits, trace, Verdict(Status.INFEASIBLE), text, remedy)


def _finish(
    visits: Visits, trace: list[dict[str, Any]], verdict: Verdict, text: str, remedy: str = ""
) -> TuneResult:
    status, tuned = verdict.status, visits.tuned
    remedy = remedy or _remedy(verdict, visits.settings)
    return TuneResult(
        status,
        text,
        remedy,
        visits.points,
        trace,
        tuned,
        visits.settings.gradient,
        visits.f,
        visits.reference,
    )


def _remedy(verdict: Verdict, settings: Tuning) -> str:
    """What to change, as settings of the same command, or in words where none would help."""
    if verdict.status is Status.OK:
        return ""
    if verdict.status is Status.OK_CORRECTED:
        return "correct=resample"
    if not verdict.raised:
        return "check the criterion for NaN or infinite values, or lower tuning.learning_rate"
    return " ".join(f"tuning.{name}={2 * getattr(settings, name)}" for name in verdict.raised)


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
