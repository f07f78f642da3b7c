"""Ways to draws of a tilt, each with its errors and its price.

Costs are in evaluations of f, as in `btgm_cli.truth.price`: `fixed_evals` before the first draw,
then `evals_per_draw` for each effective one. What SMC, NUTS and samplers of other people's spend
grows with the draws that they leave, so that all of it counts as theirs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from experiments.bench.foreign import SAMPLERS, Sampler
from experiments.bench.nuts import nuts

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import PathPoint, Reference, Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.truth.moves import GRADIENT
from btgm_cli.truth.price import N_BEST, by_rejection, evaluations
from btgm_cli.truth.references import Estimated, latent_smc
from btgm_cli.tuned.correction import N_PILOT, Correct, Corrector
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning import Gradient, TuneResult, Tuning, tune

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much each way may spend.

    Args:
        tuning: of the tuned model.
        particles: of the SMC, in each population.
        warm_up: draws of NUTS that are thrown away.
        chain: draws of NUTS that are kept.
        n_draws: draws of the tuned model behind the corrected mean of f.
        effective: draws that samplers of other people's are asked for.
    """

    tuning: Tuning
    particles: int
    warm_up: int
    chain: int
    n_draws: int
    effective: int = 5000


@dataclass(frozen=True)
class Contest:
    """One criterion and seed.

    Args:
        f: the latent criterion f̂, with its model.
        path: the exact tilts, β rising.
        truth: where they come from.
        seed: of the ways, not of the truth.
        sizes: what they may spend.
    """

    f: LatentCriterion
    path: Sequence[Reference]
    truth: ReferenceSource
    seed: int
    sizes: Sizes

    def generator(self, *purpose: object) -> torch.Generator:
        """For one purpose of this contest."""
        return derived_generator(self.seed, "bench", *purpose)

    def values(self, z: torch.Tensor) -> torch.Tensor:
        """f̂(z) without gradient, shape (n,)."""
        return evaluate(self.f, z)


Way = Callable[[Contest, Sequence[Reference]], Iterator[Row]]
"""Rows for the tilts that are asked for, each with its β and method, in order."""


def rejection(contest: Contest, tilts: Sequence[Reference]) -> Iterator[Row]:
    """From p, under the largest f that draws of the exact tilt show: without error, dear."""
    z = contest.f.model.sample_prior(2 * N_BEST, contest.generator("rejection", "time"))
    started = time.perf_counter()
    contest.values(z)
    seconds = (time.perf_counter() - started) / len(z)
    for exact in tilts:
        generator = contest.generator("rejection", exact.beta)
        best = contest.truth.particles(exact.beta, N_BEST, generator).f.max().item()
        evals = by_rejection(exact.beta, best, exact.log_z)
        yield {
            "method": "rejection",
            "beta": exact.beta,
            "ess_fraction": 1 / evals,
            "evals_per_draw": evals,
            "seconds_per_draw": evals * seconds,
            "status": str(Status.OK),
        }


def smc(contest: Contest, tilts: Sequence[Reference]) -> Iterator[Row]:
    """Tempered SMC; each β is charged with the whole way up from p."""
    started = time.perf_counter()
    sampler = latent_smc(contest.f, contest.generator("smc"), contest.sizes.particles)
    for exact in tilts:
        found = sampler.at(exact.beta)
        f = sampler.particles(exact.beta, N_BEST, contest.generator("q99", exact.beta)).f
        seconds = time.perf_counter() - started
        evals, effective = sampler.cost(exact.beta)
        yield {
            "method": "smc",
            "beta": exact.beta,
            "log_z_error": abs(found.log_z - exact.log_z),
            "ess_fraction": effective / sampler.ladder[0].f.numel(),
            "mean_error_sd": _off(found.mean, exact),
            "mean": found.mean,
            "q99": weighted_quantile(f, torch.ones_like(f), 0.99),
            "evals_per_draw": evals / effective,
            "seconds_per_draw": seconds / effective,
            "status": str(Status.OK if found.reliable else Status.UNRELIABLE_REFERENCE),
        }


def no_u_turn(contest: Contest, tilts: Sequence[Reference]) -> Iterator[Row]:
    """One chain of NUTS, warm-up included in its price; it knows no log Z and judges nothing."""
    sizes = contest.sizes
    for exact in tilts:
        started = time.perf_counter()
        chain = nuts(contest.f, exact.beta, sizes.warm_up, sizes.chain, contest.seed)
        seconds = time.perf_counter() - started
        yield {
            "method": "nuts",
            "beta": exact.beta,
            "ess_fraction": chain.effective / len(chain.f),
            "mean_error_sd": _off(chain.f.mean().item(), exact),
            "evals_per_draw": GRADIENT * chain.gradients / chain.effective,
            "seconds_per_draw": seconds / chain.effective,
        }


def foreign(
    name: str, sampler: Sampler, contest: Contest, tilts: Sequence[Reference]
) -> Iterator[Row]:
    """A sampler of other people's, by its defaults; it is charged with all that it evaluates."""
    for exact in tilts:
        started = time.perf_counter()
        found = sampler(contest.f, exact.beta, contest.sizes.effective, contest.seed)
        seconds = time.perf_counter() - started
        yield {
            "method": name,
            "beta": exact.beta,
            "log_z_error": abs(found.log_z - exact.log_z),
            "ess_fraction": found.effective / len(found.f),
            "mean_error_sd": _off(found.mean, exact),
            "mean": found.mean,
            "q99": weighted_quantile(found.f, torch.softmax(found.log_weight, 0), 0.99),
            "evals_per_draw": found.evals / found.effective,
            "seconds_per_draw": seconds / found.effective,
        }


def tuned(contest: Contest, tilts: Sequence[Reference]) -> Iterator[Row]:
    """Algorithm 1 along the whole path: the tuned model as it is, and with its weights."""
    result = tune(
        contest.f.model,
        contest.f.criterion,
        target=Target(betas=[exact.beta for exact in contest.path]),
        settings=contest.sizes.tuning,
        seed=contest.seed,
        reference=contest.truth,
    )
    wanted = [exact.beta for exact in tilts]
    evals, seconds = _shown(contest, result), 0.0
    for point in result.points:
        evals += evaluations(point.effort)
        seconds += point.effort.seconds
        if point.figures.moments.beta in wanted:
            fixed = {"fixed_evals": evals, "fixed_seconds": seconds, "status": str(point.status)}
            yield from (row | fixed for row in _drawn(contest, result, point))


def _shown(contest: Contest, result: TuneResult) -> int:
    """Draws of p that the truth has paid for, and the tuned model has learned from."""
    if result.gradient is Gradient.SURROGATE and isinstance(contest.truth, Estimated):
        return contest.truth.prior.shown().f_evals
    return 0


def _drawn(contest: Contest, result: TuneResult, point: PathPoint) -> Iterator[Row]:
    """The point's tuned model, then its weighted draws; log Z by −L(β), then by the weights."""
    last, exact, beta = result.tuned, point.figures.reference, point.beta
    q = TunedModel.of(last.model, last.flow.settings, point.flow_state, point.acceptance_state)
    started = time.perf_counter()
    corrector = Corrector(q, contest.f, beta, Correct.NONE, contest.generator("draws", beta))
    seconds = (time.perf_counter() - started) / N_PILOT
    blocks = math.ceil(contest.sizes.n_draws / corrector.block)
    draws = list(islice(corrector.draws(contest.sizes.n_draws), blocks))
    f = torch.cat([block.f for block in draws]).double()
    weight = torch.softmax(torch.cat([block.log_weight for block in draws]), 0)
    mean = (weight * f).sum().item()
    ess = point.figures.ess_fraction
    yield {
        "method": "tuned",
        "beta": beta,
        "log_z_error": abs(point.figures.kl_gap),
        "kl_gap": point.figures.kl_gap,
        "ess_fraction": ess,
        "mean_error_sd": _off(point.figures.moments.mean, exact),
        "mean": point.figures.moments.mean,
        "q99": weighted_quantile(f, torch.ones_like(f), 0.99),
        "evals_per_draw": 1 / ess,
        "seconds_per_draw": seconds / ess,
    }
    yield {
        "method": "tuned + corrected",
        "beta": beta,
        "log_z_error": abs(point.figures.log_z - exact.log_z),
        "ess_fraction": ess,
        "mean_error_sd": _off(mean, exact),
        "mean": mean,
        "q99": weighted_quantile(f, weight, 0.99),
        "evals_per_draw": 1 / ess,
        "seconds_per_draw": seconds / ess,
    }


def weighted_quantile(f: torch.Tensor, weight: torch.Tensor, share: float) -> float:
    """The value of f (n,) that this share of the weight (n,) lies at or below."""
    ordered, order = f.sort()
    below = weight[order].double().cumsum(0) / weight.double().sum()
    index = int((below < share).sum())
    return ordered[min(index, len(f) - 1)].item()


def _off(mean: float, exact: Reference) -> float:
    """Error of the mean of f, in standard deviations of f under the exact tilt."""
    return abs(mean - exact.mean) / math.sqrt(exact.var)


WAYS: dict[tuple[str, ...], Way] = {
    ("rejection",): rejection,
    ("smc",): smc,
    ("nuts",): no_u_turn,
    ("tuned", "tuned + corrected"): tuned,
}
"""By the methods whose rows they give."""

FOREIGN: dict[tuple[str, ...], Way] = {
    (name,): partial(foreign, name, sampler) for name, sampler in SAMPLERS.items()
}
"""Those of other people's, which may not be installed."""
