"""The reference sharpened by the draws of q̂ that the evaluation has paid for.

Judge and judged stay apart: the reference's own draws take part with their full weight, so that
what q̂ has lost still counts, while what q̂ alone has seen can only add to Z.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.results import Moments, Particles, Reference
from btgm_cli.tilt.estimates import MIN_ESS, kl_gap
from btgm_cli.tilt.pooling import Pool, Pooled, pooled
from btgm_cli.truth.references import LARGEST_K, Estimated
from btgm_cli.truth.smc import LARGEST_LOG_Z_SE
from btgm_cli.tuned.model import TunedModel

NEGLIGIBLE = 1e-4
"""Share of the tilt on draws of p whose density under q̂ is not worth its price: inverting a flow.

Without it they count as if q̂ had nothing there, by at most 1 + n_q / n_p times too much.
"""


def sharpened(
    source: ReferenceSource,
    own: Reference,
    tuned: TunedModel,
    moments: Moments,
    f: Tensor,
    log_ratio: Tensor,
    constant_se: float,
) -> Pooled:
    """The reference at one β from all draws at hand, and q̂'s distance from it.

    Args:
        source: of the reference; a closed form stays as it is.
        own: what it tells of this β by itself.
        tuned: q̂.
        moments: of q̂'s draws.
        f: on q̂'s draws, shape (n,).
        log_ratio: log q̂ − log p on them, shape (n,), nats.
        constant_se: error of log q̂'s constant, nats, which `moments` has in it already.
    """
    alone = Pooled(own, *kl_gap(moments, own), 0.0)
    sound = all(map(math.isfinite, (own.log_z, own.log_z_se, moments.loss)))
    if not isinstance(source, Estimated) or not sound:
        return alone
    beta = moments.beta
    held_out = source.prior.held_out()
    prior = Particles(held_out.z, held_out.f.double())
    of_p = Pool.independent(prior.f, _ratio_of_prior(tuned, beta, prior))
    of_q = Pool.independent(f, log_ratio)
    if own.method == "psis":
        found, holds = pooled(beta, of_p, of_q), own.reliable
        if own.pareto_k < 0:
            # Weights of p's draws are bounded: the errors are right but for what has not come yet.
            found = found.with_one_more(max(prior.f.max().item(), f.max().item()), of_p.count)
        elif found.reference.pareto_k > LARGEST_K:
            return alone  # what q̂ has left to p is a heavy tail, which smoothing tells best
    else:
        particles, weights = source.smc.pool(beta)
        ratio = _log_ratio(tuned, particles.z).view_as(weights)
        of_tilt = Pool(particles.f.view_as(weights), ratio, max(own.ess, 1.0), weights)
        found = pooled(beta, of_p, of_q, of_tilt)
        holds = source.smc.has_mixed(beta) and own.ess >= MIN_ESS
        holds = holds and found.reference.log_z_se <= LARGEST_LOG_Z_SE
    log_z_se = math.hypot(found.reference.log_z_se, found.of_density * constant_se)
    return replace(
        found,
        reference=replace(found.reference, log_z_se=log_z_se, reliable=holds),
        gap_se=math.hypot(found.gap_se, (1 + found.of_density) * constant_se),
    )


def _ratio_of_prior(tuned: TunedModel, beta: float, prior: Particles) -> Tensor:
    """log q̂ − log p on draws of p, shape (n,); −inf where it would not matter."""
    share = torch.softmax(beta * prior.f, 0)
    heaviest = share.argsort(descending=True)
    count = int((share[heaviest].cumsum(0) < 1 - NEGLIGIBLE).sum()) + 1
    matters = heaviest[:count]
    ratio = torch.full_like(prior.f, -math.inf)
    ratio[matters] = _log_ratio(tuned, prior.z[matters])
    return ratio


def _log_ratio(tuned: TunedModel, z: Tensor) -> Tensor:
    """log q̂ − log p on z (n, D), shape (n,), float64."""
    return (tuned.log_prob(z) - tuned.model.prior_log_prob(z)).double()
