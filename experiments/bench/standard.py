"""Part `targets`: how far log Z of standard sampling targets is missed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import mean

import pandas as pd
from experiments.bench.rivals import Row
from experiments.bench.settings import Settings
from experiments.bench.table import Table
from experiments.bench.targets import SamplingTarget, funnel10, gmm9, gmm40, many_well32
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import Status
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.tilt.estimates import effective_sample_size, log_mean_weight, pareto_k
from btgm_cli.truth.moves import GRADIENT
from btgm_cli.truth.references import latent_smc
from btgm_cli.truth.smc import POPULATIONS, TemperedSMC
from btgm_cli.tuned.flows import Flow, InverseAutoregressive, SplineCoupled
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning import TuneResult, Tuning, tune

COLUMNS = (
    "target",
    "method",
    "seed",
    "n_draws",
    "log_z_error",
    "log_z_se",
    "reliable",
    "kl_gap",
    "ess_fraction",
    "pareto_k",
    "f_evals",
    "seconds",
)
METHODS = ("tuned + corrected", "reference", "smc")

N_DRAWS = 2000
"""Draws behind each estimate of log Z by corrected draws, as in fab-jax."""

PILOT = 50
"""Particles in each population of an SMC that tells what one costs."""

PUBLISHED = {
    "gmm9": "0.00269 (gmm_v1)",
    "gmm40": "none; 0.00269 is that of gmm_v1",
    "funnel10": "0.00218",
    "many_well32": "0.0316",
}
"""Mean absolute error of log Z by FAB with 2,000 draws, 5 seeds: README of fab-jax."""


@dataclass(frozen=True)
class Recipe:
    """A target, and a tuning that takes one to three minutes on one core.

    Args:
        target: builds it.
        flow: builds the flow for a dimension and seed.
        tuning: settings.
        path: the betas.
        batches: estimates of log Z whose errors are averaged.
    """

    target: Callable[[], SamplingTarget]
    flow: Callable[[int, int], Flow]
    tuning: Tuning
    path: tuple[float, ...] = (0.1, 0.3, 0.6, 1.0)
    batches: int = 10


def _affine(dim: int, seed: int) -> Flow:
    return InverseAutoregressive(dim, seed=seed)


def _splines(depth: int) -> Callable[[int, int], Flow]:
    """Splines tear a Gaussian into modes, where affine layers settle in one of them."""

    def flow(dim: int, seed: int) -> Flow:
        return SplineCoupled(dim, depth, hidden=(64, 64), bins=16, bound=4.0, seed=seed)

    return flow


# Without learned acceptance the constant of q̂ is exact. Many draws of p and of q̂ where they are
# what makes the reference sharp.
FOLLOWING_F = Tuning(batch_size=256, min_acceptance_rate=1, n_reference=10_000)
PLANE = Tuning(batch_size=256, first_steps=600, steps=400, n_eval=50_000)
RECIPES = {
    "gmm9": Recipe(
        gmm9, _splines(depth=4), replace(PLANE, n_reference=1_000_000), path=(0.1, 0.3, 1.0)
    ),
    "gmm40": Recipe(
        gmm40, _splines(depth=6), replace(PLANE, n_reference=4_000_000), path=(0.1, 0.3, 1.0)
    ),
    "funnel10": Recipe(
        funnel10, _affine, replace(FOLLOWING_F, first_steps=800, steps=500, n_eval=100_000)
    ),
    "many_well32": Recipe(
        many_well32,
        _splines(depth=4),
        replace(
            FOLLOWING_F,
            first_steps=900,
            steps=500,
            batch_size=128,
            n_eval=50_000,
            n_particles=800,
        ),
    ),
}
QUICK = replace(
    FOLLOWING_F, first_steps=2, batch_size=32, n_eval=200, n_reference=200, n_particles=200
)


def run(settings: Settings) -> None:
    """The table for all targets and seeds, and beside it what others have published."""
    table = Table(settings.folder / "targets.csv", COLUMNS, key=3)
    for name, full in RECIPES.items():
        recipe = replace(full, tuning=QUICK, path=(1.0,), batches=1) if settings.quick else full
        for seed in range(settings.seeds):
            if all(table.has(name, method, seed) for method in METHODS):
                continue
            for row in measure(recipe, seed):
                if not table.has(name, row["method"], seed):
                    table.add(row | {"target": name, "seed": seed})
    table.show()
    print(summary(table.frame()), flush=True)


def measure(recipe: Recipe, seed: int) -> Iterator[Row]:
    """The tuned model's weighted draws, its reference, and SMC for what that run has cost.

    The run is charged with all that it evaluates, draws of the reference among it.
    """
    started = time.perf_counter()
    target = recipe.target()
    result = tune(
        target.model,
        target.criterion,
        target=Target(betas=recipe.path),
        flow=recipe.flow(target.model.latent_dim, seed),
        settings=recipe.tuning,
        seed=seed,
    )
    seconds = time.perf_counter() - started
    gradients = sum(point.effort.f_gradients for point in result.points)
    evals = result.f_evals + (GRADIENT - 1) * gradients
    spent = {"f_evals": evals, "seconds": seconds}
    yield spent | corrected(recipe, target, result, seed)
    yield spent | referred(recipe, target, result)
    yield climbed(target, evals, seed)


def corrected(recipe: Recipe, target: SamplingTarget, result: TuneResult, seed: int) -> Row:
    """Estimates from `N_DRAWS` weighted draws each, as fab-jax makes them: their mean error."""
    log_w = weights(target, result.tuned, recipe.batches * N_DRAWS, seed)
    found = [log_mean_weight(batch) for batch in log_w.split(N_DRAWS)]
    acceptance = result.tuned.acceptance
    constant = acceptance.log_mean_se.item() if acceptance else 0.0
    return {
        "method": "tuned + corrected",
        "n_draws": N_DRAWS,
        "log_z_error": mean(abs(log_z - target.log_z) for log_z, _ in found),
        "log_z_se": math.hypot(mean(se for _, se in found), constant),
        "reliable": result.points[-1].status in (Status.OK, Status.OK_CORRECTED),
        "kl_gap": target.log_z - log_w.mean().item(),
        "ess_fraction": effective_sample_size(log_w) / len(log_w),
        "pareto_k": pareto_k(log_w),
    }


def referred(recipe: Recipe, target: SamplingTarget, result: TuneResult) -> Row:
    """The reference that the run holds its tuned model against: one estimate from all draws."""
    figures = result.points[-1].figures
    found = figures.reference
    n_draws = recipe.tuning.n_reference + recipe.tuning.n_eval  # and the particles of an SMC
    return {
        "method": "reference",
        "n_draws": n_draws,
        "log_z_error": abs(found.log_z - target.log_z),
        "log_z_se": found.log_z_se,
        "reliable": found.reliable,
        "kl_gap": figures.kl_gap,
        "ess_fraction": found.ess / n_draws,
        "pareto_k": found.pareto_k,
    }


def weights(target: SamplingTarget, tuned: TunedModel, n: int, seed: int) -> Tensor:
    """Log weights p e^f / q̂ of n draws of q̂, shape (n,), float64."""
    z, log_q = tuned.draw(n, derived_generator(seed, "bench", "weights"))
    f = evaluate(LatentCriterion(target.model, target.criterion), z)
    return f.double() + target.model.prior_log_prob(z).double() - log_q.double()


def climbed(target: SamplingTarget, evals: int, seed: int) -> Row:
    """Tempered SMC with as many particles as about so many evaluations allow."""
    f = LatentCriterion(target.model, target.criterion)

    def sampler(purpose: str, particles: int) -> TemperedSMC:
        generator = derived_generator(seed, "bench", purpose)
        return latent_smc(f, generator, particles)

    pilot = sampler("pilot", PILOT)
    pilot.at(1.0)
    particles = max(PILOT, math.floor(PILOT * evals / pilot.f_evals))
    started = time.perf_counter()
    smc = sampler("smc", particles)
    found = smc.at(1.0)
    spent, effective = smc.cost(1.0)
    return {
        "method": "smc",
        "n_draws": POPULATIONS * particles,
        "log_z_error": abs(found.log_z - target.log_z),
        "log_z_se": found.log_z_se,
        "reliable": found.reliable,
        "ess_fraction": effective / (POPULATIONS * particles),
        "f_evals": spent,
        "seconds": time.perf_counter() - started,
    }


def summary(frame: pd.DataFrame) -> str:
    """Mean absolute error of log Z over seeds, the best of ours first, beside those published."""
    lines = ["mean |error of log Z|, nats; published for FAB with 2,000 draws, README of fab-jax:"]
    for name, rows in frame.groupby("target", sort=False):
        means = rows.groupby("method")["log_z_error"].mean().sort_values()
        ours = ", ".join(f"{method} {error:.4g}" for method, error in means.items())
        seeds = rows["seed"].nunique()
        lines.append(f"  {name}: {ours} ({seeds} seeds); published {PUBLISHED[str(name)]}")
    return "\n".join(lines)
