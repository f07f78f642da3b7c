"""Part `targets`: how far log Z of standard sampling targets is missed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pandas as pd
from experiments.bench.rivals import Row
from experiments.bench.settings import Settings
from experiments.bench.table import Table
from experiments.bench.targets import SamplingTarget, funnel, gaussian_mixture, many_well
from torch import Tensor

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.seeds import derived_generator
from btgm_cli.core.target import Target
from btgm_cli.tilt.estimates import effective_sample_size, log_mean_weight, pareto_k
from btgm_cli.truth.price import evaluations
from btgm_cli.truth.references import latent_smc
from btgm_cli.truth.smc import POPULATIONS, TemperedSMC
from btgm_cli.tuned.flows import Flow, InverseAutoregressive, SplineCoupled
from btgm_cli.tuned.model import TunedModel
from btgm_cli.tuning import Tuning, tune

COLUMNS = (
    "target",
    "method",
    "seed",
    "n_draws",
    "log_z_error",
    "kl_gap",
    "ess_fraction",
    "pareto_k",
    "f_evals",
    "seconds",
)
METHODS = ("tuned + corrected", "smc")

N_DRAWS = 2000
"""Draws behind each estimate of log Z."""

PILOT = 50
"""Particles in each population of an SMC that tells what one costs."""

PUBLISHED = {
    "gmm25": ("GMM-40", 0.00269),
    "funnel10": ("Funnel", 0.00218),
    "many_well32": ("Many Well 32", 0.0316),
}
"""Mean absolute error of log Z by FAB with 2,000 draws, 5 seeds: README of lollcat/fab-jax."""


@dataclass(frozen=True)
class Recipe:
    """A target, and a tuning that takes about two minutes on one core.

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


# No learned acceptance: its constant, itself estimated, would be most of the error of log Z.
# The reference is small: log Z is known, and nothing else is read off it.
COMMON = Tuning(
    batch_size=256, min_acceptance_rate=1, n_eval=2000, n_reference=1000, n_particles=800
)
RECIPES = {
    "gmm25": Recipe(
        gaussian_mixture, _splines(depth=6), replace(COMMON, first_steps=1000, steps=700)
    ),
    "funnel10": Recipe(funnel, _affine, replace(COMMON, first_steps=1500, steps=900)),
    "many_well32": Recipe(
        many_well, _splines(depth=4), replace(COMMON, first_steps=900, steps=500, batch_size=128)
    ),
}
QUICK = replace(COMMON, first_steps=2, batch_size=32, n_eval=200, n_particles=200)


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
    """The tuned model's weighted draws, then SMC with as many evaluations as the tuning took."""
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
    evals = sum(evaluations(point.effort) for point in result.points)
    log_w = weights(target, result.tuned, recipe.batches * N_DRAWS, seed)
    errors = [abs(log_mean_weight(batch)[0] - target.log_z) for batch in log_w.split(N_DRAWS)]
    yield {
        "method": "tuned + corrected",
        "n_draws": N_DRAWS,
        "log_z_error": sum(errors) / len(errors),
        "kl_gap": target.log_z - log_w.mean().item(),
        "ess_fraction": effective_sample_size(log_w) / len(log_w),
        "pareto_k": pareto_k(log_w),
        "f_evals": evals,
        "seconds": seconds,
    }
    yield climbed(target, evals, seed)


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
    log_z = smc.at(1.0).log_z
    spent, effective = smc.cost(1.0)
    return {
        "method": "smc",
        "n_draws": POPULATIONS * particles,
        "log_z_error": abs(log_z - target.log_z),
        "ess_fraction": effective / (POPULATIONS * particles),
        "f_evals": spent,
        "seconds": time.perf_counter() - started,
    }


def summary(frame: pd.DataFrame) -> str:
    """Mean absolute error of log Z over seeds, beside figures published elsewhere."""
    lines = [f"mean |error of log Z|, nats; published elsewhere for FAB, {N_DRAWS} draws:"]
    for name, rows in frame.groupby("target", sort=False):
        means = rows.groupby("method", sort=False)["log_z_error"].mean()
        ours = ", ".join(f"{method} {mean:.4g}" for method, mean in means.items())
        theirs, error = PUBLISHED[str(name)]
        lines.append(f"  {name}: {ours} ({len(rows) // len(means)} seeds); {theirs} {error}")
    return "\n".join(lines)
