"""Mass of a tilt where p is so thin that no draw of it, and no move from one, ever comes.

Draws of p, made several times wider, are weighted for the tilt. Their mean weight is an unbiased
estimate of Z, so that it is above Z by a factor of c with a probability of 1/c at most (Markov):
it may miss mass too, but cannot make any up. In many dimensions it finds next to nothing.
"""

from __future__ import annotations

import math

import torch

from btgm_cli.core.contracts import ExplicitDensity
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.core.results import Moments
from btgm_cli.tilt.estimates import log_mean_weight

SCALES = (2.0, 4.0, 8.0, 16.0)
"""How much wider."""

EACH = 1000
"""Draws of each."""


def wide_draws(f: LatentCriterion) -> int:
    """How many are drawn: none but where x is a bijection of z, so that every z has its x."""
    return len(SCALES) * EACH if isinstance(f.model, ExplicitDensity) else 0


def lower_bound(
    f: LatentCriterion, moments: Moments, generator: torch.Generator
) -> tuple[float, float]:
    """What log Z(β) is no less than, but for the error: nats, with that error.

    It is −L(β) of q̂, or what wide draws find where that is surely more.

    Args:
        f: the latent criterion f̂, with its model.
        moments: of q̂ at β.
        generator: of the draws.
    """
    known = -moments.loss, moments.loss_se
    if not wide_draws(f):
        return known
    log_z, error = _log_z(f, moments.beta, generator)
    surely_more = log_z - 4 * error > known[0] + 4 * known[1]
    return (log_z, error) if surely_more else known


def _log_z(f: LatentCriterion, beta: float, generator: torch.Generator) -> tuple[float, float]:
    """log Z(β) by draws of the mixture of the wide p, nats, with its error."""
    model = f.model
    z = torch.cat([scale * model.sample_prior(EACH, generator) for scale in SCALES])
    densities = [
        model.prior_log_prob(z / scale).double() - model.latent_dim * math.log(scale)
        for scale in SCALES
    ]
    log_r = torch.logsumexp(torch.stack(densities), 0) - math.log(len(SCALES))
    log_w = beta * evaluate(f, z).double() + model.prior_log_prob(z).double() - log_r
    return log_mean_weight(torch.where(torch.isfinite(log_w), log_w, -math.inf))
