"""Which way to draws of the exact tilt is the cheapest, once its β is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.results import Moments, Reference
from btgm_cli.core.target import Target
from btgm_cli.tilt import search as second_order
from btgm_cli.truth.references import LARGEST_K, Estimated
from btgm_cli.tuning.feasibility import prospect
from btgm_cli.tuning.forecast import Forecast
from btgm_cli.tuning.one_target import goal_of, infeasible
from btgm_cli.tuning.problem import Problem
from btgm_cli.tuning.sight import Sight
from btgm_cli.tuning.ways import Method, Plan, Way, climb


def aim(problem: Problem, reference: ReferenceSource) -> tuple[float, str]:
    """The β of the tilt that is asked for, as the reference has it.

    The reference climbs its SMC as far as a target is, where draws of p do not see it.

    Returns:
        β, and why there is nothing to draw; empty where there is.

    Raises:
        SettingError: a target for a criterion that is constant under p.
    """
    if isinstance(reference, Estimated) and reference.prior.unusable:
        return 0.0, "f is NaN or infinite for some draws of p"
    if problem.target.path is not None:
        return problem.target.path[-1], ""
    goal, prior = goal_of(problem.target, problem.settings), reference.at(0.0)
    if second_order.init(goal, _moments(prior)).converged:
        return 0.0, ""  # p itself is the closest model that qualifies
    found = prospect(goal, reference)
    if found.most is not None:
        return 0.0, infeasible(goal, found.most, prior).text
    if found.beta is None:
        text = "the exact tilts are not known well enough as far as the target; "
        return 0.0, f"{text}give more tuning.n_particles, or ask for less"
    return found.beta, ""


def from_here(ahead: Forecast, reference: ReferenceSource, beta: float) -> Forecast:
    """The forecast once β is known: a run need not look for it, and an SMC may have told more."""
    seen, estimated = ahead.seen, isinstance(reference, Estimated)
    if isinstance(reference, Estimated) and reference.has_climbed:
        tilt, smc = reference.at(beta), reference.smc
        best = max(reference.prior.f.max().item(), smc.pool(beta)[0].f.max().item())
        seen = Sight(beta, tilt.kl, beta * best - tilt.log_z, clear=tilt.reliable)
    settings, target = ahead.plan.settings, Target(betas=[beta])
    plan = Plan.of(target, settings, seen.kl, closed_form=not estimated)
    return replace(ahead, seen=seen, plan=plan)


def yet_to_pay(ahead: Forecast, reference: ReferenceSource) -> list[Way]:
    """What draws will cost by each way, beside what the reference has paid for."""
    rejection, smc, tuning = ahead.ways
    if not isinstance(reference, Estimated):
        return [rejection, smc, tuning]
    rejection = replace(rejection, free=ahead.n_prior / rejection.each)
    if reference.has_climbed:
        evaluations, worth = reference.smc.cost(ahead.seen.beta)
        each = evaluations / worth if worth > 0 else smc.each
        pace = ahead.pace.evaluation
        smc = replace(smc, each=each, each_seconds=pace * each, at_least=False, free=worth)
    elif not _sharp(reference.prior.at(ahead.seen.beta)):  # then a run climbs for its verdict
        more = ahead.plan.settings.n_particles * climb(ahead.seen, ahead.moves)
        seconds = tuning.fixed_seconds + ahead.pace.evaluation * more
        tuning = replace(tuning, fixed=tuning.fixed + more, fixed_seconds=seconds)
    return [rejection, smc, tuning]


def cheapest(ways: Sequence[Way], n: int) -> Way:
    """The way that takes the fewest evaluations for n draws; the first of equals.

    Seconds do not decide: the same command takes the same way each time.
    """
    return min(ways, key=lambda way: way.evaluations(n))


def way_by(ways: Sequence[Way], method: Method) -> Way:
    """The way by this method."""
    return next(way for way in ways if way.method is method)


def _sharp(tilt: Reference) -> bool:
    """Do draws of p do for a verdict?"""
    return tilt.reliable and tilt.pareto_k <= LARGEST_K


def _moments(tilt: Reference) -> Moments:
    """Of p, as the search takes them."""
    return Moments(
        beta=tilt.beta,
        mean=tilt.mean,
        mean_se=tilt.mean_se,
        var=tilt.var,
        m3=tilt.m3,
        kl=tilt.kl,
        kl_se=tilt.kl_se,
        loss=tilt.kl - tilt.beta * tilt.mean,
        loss_se=tilt.kl_se,
        n=0,
    )
