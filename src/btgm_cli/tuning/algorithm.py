"""Algorithm 1: a warm-started sequence of tilts, along a given path or towards a target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.contracts import Criterion, Doubtful, GenerativeModel, ReferenceSource
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Journal, PathPoint, Progress, Status, Verdict
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.truth.verdict import OUT_OF_REACH, Thresholds, hopeless
from btgm_cli.tuned.flows import Flow
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning.one_target import OneTarget, goal_of
from btgm_cli.tuning.path import Path
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.settings import Gradient, Tuning
from btgm_cli.tuning.several import SeveralTargets
from btgm_cli.tuning.strategy import Outcome, Strategy
from btgm_cli.tuning.tilts import Tilt
from btgm_cli.tuning.views import ViewsTogether
from btgm_cli.tuning.views_told import ViewsTold, views_told
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
        f_evals: criterion evaluations in all, those of references among them.
        views: each view, and the marginals of what they are of; None without views.

    Examples:
        >>> from btgm_cli import Target, load_criterion, load_model, tune
        >>> model, criterion = load_model("gaussian", latent_dim=4), load_criterion("linear")
        >>> result = tune(model, criterion, target=Target(betas=[0]))  # p itself
        >>> print(result.status)
        ok
        >>> result.beta, result.points[-1].figures.reference.kl
        (0.0, 0.0)
        >>> result.sample(16, seed=0).shape
        torch.Size([16, 4])
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
    f_evals: int
    views: ViewsTold | None = None

    @property
    def beta(self) -> float:
        """The β of the last pass."""
        return self.points[-1].beta

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Draw x ~ p(x|z), z ~ q̂ of the last pass, of shape (n, *X), on the CPU or the GPU."""
        device = next(self.tuned.flow.parameters()).device
        return self.tuned.sample(n, derived_generator(seed, "sample", device=device))


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
        criterion: f, larger is better; it needs no gradient.
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

    Examples:
        The tilts of a Gaussian by a linear f are shifts by β, with KL = β²/2:

        >>> from btgm_cli import InverseAutoregressive, Target, Tuning
        >>> from btgm_cli import load_criterion, load_model, tune
        >>> model, criterion = load_model("gaussian", latent_dim=2), load_criterion("linear")
        >>> flow = InverseAutoregressive(2, depth=2, hidden=[16])
        >>> quick = Tuning(first_steps=300, steps=100, min_acceptance_rate=1.0)
        >>> result = tune(model, criterion, target=Target(C_D=0.5), flow=flow, settings=quick)
        >>> print(result.status)
        ok
        >>> round(result.beta, 1)
        1.0
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
    """Tune what was checked; the other arguments are those of `tune`.

    Raises:
        SettingError: the journal's points are not those of this problem.
    """
    strategy = strategy_for(problem)
    visits = Visits(problem, reference, strategy.passes, journal, observe)
    trace: list[dict[str, Any]] = []
    tilt: Tilt | None = strategy.first(visits)
    while tilt is not None:
        point = visits.visit(tilt)
        row = _trace_row(len(trace), point)
        tilt = None
        if not hopeless(point):
            tilt = strategy.next(visits)
            row |= strategy.row()
        trace.append(row)
    views = views_told(strategy, visits) if isinstance(strategy, ViewsTogether) else None
    outcome = _doubted(strategy.outcome(visits.points), visits.f.criterion)
    return TuneResult(
        status=outcome.verdict.status,
        message=outcome.text,
        remedy=outcome.remedy or _remedy(outcome.verdict, problem.settings),
        points=visits.points,
        trace=trace,
        tuned=visits.tuned,
        gradient=problem.settings.gradient,
        f=visits.f,
        reference=visits.reference,
        f_evals=sum(point.effort.f_evals for point in visits.points)
        + visits.reference.f_evals
        + strategy.f_evals,
        views=views,
    )


def strategy_for(problem: Problem) -> Strategy:
    """How to meet the target of a problem."""
    target, settings = problem.target, problem.settings
    if target.path is not None:
        return Path(target.path)
    if target.at_least is not None:
        return SeveralTargets(problem)
    if target.views is not None:
        return ViewsTogether(problem)
    return OneTarget(goal_of(target, settings), settings.max_updates, settings.first_beta)


def _doubted(outcome: Outcome, criterion: Criterion) -> Outcome:
    """How the run ended, unless its criterion is an estimate that may not be believed."""
    if not isinstance(criterion, Doubtful) or not criterion.doubt:
        return outcome
    verdict = Verdict(Status.UNRELIABLE_CRITERION, criterion.doubt)
    return Outcome(verdict, f"{outcome.text}; but f is off: {criterion.doubt}", criterion.remedy)


def _remedy(verdict: Verdict, settings: Tuning) -> str:
    """What to change, as settings of the same command, or in words where none would help."""
    if verdict.status is Status.OK:
        return ""
    if verdict.status is Status.OK_CORRECTED:
        return "correct=resample"
    if verdict == OUT_OF_REACH:
        return "ask for less: lower target.betas or target.C_D, or raise target.rho"
    if not verdict.to_raise:
        return "check the criterion for NaN or infinite values, or lower tuning.learning_rate"
    names = verdict.to_raise
    if settings.gradient in (Gradient.SURROGATE, Gradient.PARTICLES) and "steps" in names:
        names = ("n_learn", *names)
    return " ".join(f"tuning.{name}={2 * getattr(settings, name)}" for name in names)


def _trace_row(index: int, point: PathPoint) -> dict[str, Any]:
    """One pass as plain data."""
    moments = point.figures.moments
    return {
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
