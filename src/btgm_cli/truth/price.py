"""What a draw costs, by each way to it: `cost.csv`.

The unit is one evaluation of f, decoding included. A training step's gradient counts as three. An
effective draw is worth one independent draw of the exact tilt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.latent_criterion import LatentCriterion
from btgm_cli.core.results import Effort, PathPoint, Status
from btgm_cli.truth.moves import GRADIENT
from btgm_cli.truth.references import Estimated, latent_smc
from btgm_cli.truth.smc import TemperedSMC

N_BEST = 1000
"""Draws of the exact tilt whose largest f stands for the largest f there is."""

SMC_PARTICLES = 250
"""In each population of an SMC that runs for its price alone."""


@dataclass(frozen=True)
class Price:
    """What draws at β cost in one way.

    Args:
        beta: the tilt.
        method: tuned, tuned + corrected, rejection or smc.
        fixed: evaluations before the first draw.
        each: evaluations for an effective draw; NaN where the way does not lead to the tilt.
        pays_from: draws from which it is cheaper than rejection from p; infinite where never.
    """

    beta: float
    method: str
    fixed: float
    each: float
    pays_from: float


def prices(
    f: LatentCriterion,
    points: Sequence[PathPoint],
    reference: ReferenceSource,
    generator: torch.Generator,
) -> list[Price]:
    """The price of draws at each tuned β, by the tuned model, corrected, rejection and SMC."""
    climbed = _ladder(f, reference, generator)
    table: list[Price] = []
    fixed, shown = 0.0, _shown(reference)
    for point in points:
        beta = point.beta
        fixed += evaluations(point.effort)
        if point.paid:  # it has learned from what it was shown
            fixed, shown = fixed + shown, 0
        other = point.weights != points[-1].weights  # on the way: f was another sum then
        if beta == 0 or other or not math.isfinite(point.figures.reference.log_z):
            continue
        best = reference.particles(beta, N_BEST, generator).f.max().item()
        rejection = by_rejection(beta, best, point.figures.reference.log_z)
        believed = point.status is Status.OK
        share = point.figures.ess_fraction
        corrected = 1 / share if share > 0 else math.inf
        tuned = corrected if believed else math.nan
        table += [
            Price(beta, "tuned", fixed, tuned, _crossing(fixed, tuned, rejection)),
            Price(
                beta, "tuned + corrected", fixed, corrected, _crossing(fixed, corrected, rejection)
            ),
            Price(beta, "rejection", 0.0, rejection, 1.0),
        ]
        if not climbed.unusable:
            table.append(_smc_price(climbed, beta, rejection))
    return table


def _shown(reference: ReferenceSource) -> int:
    """Evaluations of f that a reference lets q̂ learn from: draws of p, and what its SMC met."""
    if not isinstance(reference, Estimated):
        return 0
    passed = len(reference.smc.passed().f) if reference.has_climbed else 0
    return reference.prior.shown().f_evals + passed


def evaluations(effort: Effort) -> int:
    """What was spent, in evaluations without a gradient."""
    return effort.f_evals + (GRADIENT - 1) * effort.f_gradients


def by_rejection(beta: float, best: float, log_z: float) -> float:
    """Evaluations for a draw of the tilt from p, f at most `best`; infinite beyond all numbers."""
    try:
        return math.exp(beta * best - log_z)
    except OverflowError:
        return math.inf


def _ladder(
    f: LatentCriterion,
    reference: ReferenceSource,
    generator: torch.Generator,
) -> TemperedSMC:
    """The reference's own SMC if it has run, else a small one."""
    if isinstance(reference, Estimated) and reference.has_climbed:
        return reference.smc
    return latent_smc(f, generator, SMC_PARTICLES)


def _smc_price(smc: TemperedSMC, beta: float, rejection: float) -> Price:
    evals, effective = smc.cost(beta)
    each = evals / effective if effective > 0 else math.inf
    return Price(beta, "smc", 0.0, each, _crossing(0.0, each, rejection))


def _crossing(fixed: float, each: float, rejection: float) -> float:
    """The smallest n with fixed + n each < n rejection; infinite where there is none."""
    return math.floor(fixed / (rejection - each)) + 1 if each < rejection else math.inf
