"""Fitting the learned acceptance to what the training has seen of f."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.tuned.acceptance import (
    Acceptance,
    choose_level,
    log_acceptance,
    share_and_error,
)
from btgm_cli.tuned.flows import Flow
from btgm_cli.tuned.mixture import DEFENSIVE, THINNEST, Mixture, Offered, mixed
from btgm_cli.tuned.model import BLOCK
from btgm_cli.tuned.regression import Pairs, one_cycle, some

BATCH, LEARNING_RATE = 1024, 8e-3

STEPS = 3
"""Steps for each step of the flow's training; the network is small."""

GOOD_ENOUGH = 0.01
"""nats; closer to its target than this, acceptance only costs draws."""

N_PRIOR = 60_000
"""Draws of p that keep the network honest where the flow no longer goes."""

PRIOR_SHARE = 0.25
"""Their share of each batch; half of it for the screened ones."""

N_SCREENED, N_OFFERED = 20_000, 300_000
"""So many of so many draws of p, where the network is in two minds, are evaluated for a fit."""

TWO_MINDS = (5.0, 0.5)
"""nats of β s below its 95 % quantile under p: neither surely refused nor surely kept."""

N_CALIBRATE = 100_000
"""Draws behind the level and E[a]; leaves an error of log E[a] below 0.01."""

N_GUARD = 2000
"""Draws with the true f that tell whether the flow needs acceptance."""

N_SIFTED = 500
"""Draws with the true f that tell whether acceptance helps at all."""

NEGLIGIBLE = 12.0
"""nats below the largest weight: what is refused anyway need not be known exactly."""


def fit_acceptance(
    acceptance: Acceptance,
    f: LatentCriterion,
    seen: Pairs,
    prior: Pairs,
    beta: float,
    steps: int,
    generator: torch.Generator,
) -> int:
    """Fit s(z), in place, to pairs (z, f): those that the training at β has left, and p's own.

    A badly predicted draw that is rarely kept carries a heavy weight when it is. So draws of p
    about which the network, as it stands, is in two minds are evaluated and join the fit.

    Args:
        acceptance: to fit; one that never was is fitted roughly first.
        f: the latent criterion f̂, with its model.
        seen: pairs of the training.
        prior: pairs of p.
        beta: the tilt.
        steps: of Adam.
        generator: of everything random.

    Returns:
        The criterion evaluations spent.
    """
    if acceptance.beta.item() == 0.0:
        acceptance.center.copy_(seen[1].double().mean())
        acceptance.scale.copy_(seen[1].double().std().clamp(min=1e-12))
        _descend(acceptance, (seen, prior, prior), beta, steps // 2, generator)
    screened = _screened(acceptance, f, beta, generator)
    _descend(acceptance, (seen, prior, screened), beta, steps, generator)
    acceptance.beta.fill_(beta)
    return len(screened[1])


def _descend(
    acceptance: Acceptance,
    sources: tuple[Pairs, Pairs, Pairs],
    beta: float,
    steps: int,
    generator: torch.Generator,
) -> None:
    """Adam on Huber's loss of β(s − f): errors far beyond a nat are all alike.

    Such draws are refused, or kept, either way.
    """
    of_prior = round(PRIOR_SHARE * BATCH / 2)
    sizes = (BATCH - 2 * of_prior, of_prior, of_prior)
    optimizer = torch.optim.Adam(acceptance.nets.parameters(), lr=LEARNING_RATE, fused=True)
    rate = one_cycle(optimizer, LEARNING_RATE, steps)
    for _ in range(steps):
        parts = [some(pairs, n, generator) for pairs, n in zip(sources, sizes, strict=True)]
        z, f = (torch.cat(both) for both in zip(*parts, strict=True))
        s = acceptance.each(z)
        loss = nn.functional.huber_loss(beta * s, beta * f.expand_as(s), delta=0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()


def is_needed(
    f: LatentCriterion,
    flow: Flow,
    beta: float,
    log_z: float,
    generator: torch.Generator,
) -> bool:
    """Is the flow further than `GOOD_ENOUGH` from the tilt, by a few draws and their true f?

    The flow's own mean weight knows nothing of a mode that it has lost; the reference does.

    Args:
        f: the latent criterion f̂, with its model.
        flow: trained at β.
        beta: the tilt.
        log_z: log Z(β) of the reference, nats; NaN where there is none.
        generator: of the draws.
    """
    z, log_q = Mixture(f.model, flow).flow_draws(N_GUARD, generator)
    log_w = beta * evaluate(f, z).double() - (log_q - f.model.prior_log_prob(z)).double()
    own = torch.logsumexp(log_w, 0).item() - math.log(N_GUARD)
    most = own if math.isnan(log_z) else max(own, log_z)
    return most - log_w.mean().item() > GOOD_ENOUGH


def calibrate(
    acceptance: Acceptance,
    f: LatentCriterion,
    flow: Flow,
    least_share: float,
    generator: torch.Generator,
) -> Pairs:
    """Choose how strictly to accept; accept all the flow's draws where that is no worse.

    Args:
        acceptance: fitted; its level and its constant E[a] are set in place.
        f: the latent criterion f̂, with its model.
        flow: trained at the β that the acceptance was fitted for.
        least_share: smallest E[a].
        generator: of the draws.

    Returns:
        Draws of the mixture with their f, which it took: they tell of what s wrongly refuses.
    """
    mixture = Mixture(f.model, flow)
    blocks = [weighted(acceptance, mixture, BLOCK, generator) for _ in range(N_CALIBRATE // BLOCK)]
    log_weight = torch.cat([log_weight for _, log_weight in blocks])
    level = choose_level(log_weight, least_share, GOOD_ENOUGH)
    offered, of_guard = weighted(acceptance, mixture, N_SIFTED, generator)
    asked = offered.z, evaluate(f, offered.z)
    tilt = acceptance.beta * asked[1].double()
    log_flow = offered.log_flow.double()
    sifted = _loss(log_acceptance(of_guard, level), tilt - mixed(log_flow))
    plain = (log_flow - tilt)[_of_prior(N_SIFTED) :].mean()
    if not sifted < plain:
        acceptance.open()
        return asked
    share, error = share_and_error(log_acceptance(log_weight, level))
    acceptance.level.fill_(level)
    acceptance.log_mean.fill_(math.log(share))
    acceptance.log_mean_se.fill_(error / share)
    return asked


def weighted(
    acceptance: Acceptance, mixture: Mixture, n: int, generator: torch.Generator
) -> tuple[Offered, Tensor]:
    """n draws of m, those of p first, and the log weights that the acceptance gives, float64."""
    of_flow = mixture.draw_flow(n - _of_prior(n), generator)
    from_p = mixture.model.sample_prior(_of_prior(n), generator)
    with torch.no_grad():
        largest = acceptance.log_weight(of_flow.z, of_flow.log_ratio).max()
        hopeful = acceptance.log_weight(from_p, THINNEST) > largest - NEGLIGIBLE
        offered = mixture.at(from_p, hopeful).then(of_flow)
        return offered, acceptance.log_weight(offered.z, offered.log_ratio).double()


def _of_prior(n: int) -> int:
    """How many of n draws of m are p's own."""
    return round(DEFENSIVE * n)


def _screened(
    acceptance: Acceptance,
    f: LatentCriterion,
    beta: float,
    generator: torch.Generator,
) -> Pairs:
    """Draws of p about which the network is in two minds, with their f; all kinds if none are."""
    blocks = [f.model.sample_prior(BLOCK, generator) for _ in range(N_OFFERED // BLOCK)]
    with torch.no_grad():
        below = torch.cat([beta * acceptance.predict(z) for z in blocks])
    below = below.quantile(0.95) - below
    furthest, nearest = TWO_MINDS
    chosen = ((below < furthest) & (below > nearest)).nonzero().squeeze(-1)[:N_SCREENED]
    z = torch.cat(blocks)[chosen if len(chosen) else slice(N_SCREENED)]
    return z, evaluate(f, z)


def _loss(log_a: Tensor, log_w: Tensor) -> Tensor:
    """KL + log Z of draws that are kept with probability a and have these true weights."""
    p = torch.softmax(log_a, 0)
    log_mean = torch.logsumexp(log_a, 0) - math.log(log_a.numel())
    return (p * (log_a - log_mean - log_w)).sum()
