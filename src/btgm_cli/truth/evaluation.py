"""Judging q̂ at one β from its own draws and from the reference's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from btgm_cli.core.contracts import Classified, ReferenceSource, Rescaled
from btgm_cli.core.latent_criterion import CHUNK, LatentCriterion
from btgm_cli.core.results import Figures, Moments, Particles
from btgm_cli.tilt.estimates import (
    above_upper_bound,
    below_lower_bound,
    effective_sample_size,
    log_mean_weight,
    log_z_bound,
    mean_and_error,
    moments_of_draws,
    pareto_smoothed,
)
from btgm_cli.truth.fresh import afresh
from btgm_cli.truth.references import worth
from btgm_cli.truth.sharpening import sharpened
from btgm_cli.tuned.defence import log_weight_bound
from btgm_cli.tuned.model import TunedModel

MOST_ROUNDS = 16
"""At most this many times `n` draws, however fine the tolerance."""

N_COMPARE = 2000
"""Draws of the reference that coverage and forward KL rest on."""

OUTSIDE = 0.01
"""A region of highest density leaves out this share of the distribution."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of q̂ from its own draws; see `core.results.Figures`.

    On the draws z (n, D) are f, log q̂ − log p, log q̂ and `tilted`, log p + βf, of shape (n,).
    `constant_se` is the error of log q̂'s constant, nats.
    """

    moments: Moments
    z: Tensor
    f: Tensor
    log_ratio: Tensor
    constant_se: float
    ess_fraction: float
    pareto_k: float
    log_z: float
    log_z_se: float
    class_shares: tuple[float, ...]
    log_prob: Tensor
    tilted: Tensor


@dataclass(frozen=True)
class Overlap:
    """How q̂ and the reference's draws lie on each other; see `core.results.Figures`."""

    coverage: float
    precision: float
    forward_kl: float
    log_z_upper: float
    log_z_upper_se: float
    class_shares_ref: tuple[float, ...]


def evaluate_tilt(
    tuned: TunedModel,
    f: LatentCriterion,
    beta: float,
    n: int,
    generator: torch.Generator,
    enough: Callable[[Moments], bool],
    of_kl: bool = False,
) -> Evaluation:
    """Figures of q̂ from fresh draws: rounds of n until `enough` says the errors are small.

    Where it is the KL's error that must be, `of_kl`, f is asked in the first round alone.
    """
    model = tuned.model
    z_parts: list[Tensor] = []
    f_parts: list[Tensor] = []
    q_parts: list[Tensor] = []
    p_parts: list[Tensor] = []
    classes: list[Tensor] = []
    for done in range(1, MOST_ROUNDS + 1):
        for size in [CHUNK] * (n // CHUNK) + [n % CHUNK] * (n % CHUNK > 0):
            z, log_q = tuned.draw(size, generator)
            part, of_class = f.with_classes(z)
            z_parts.append(z)
            f_parts.append(part.double())
            if of_class is not None:
                classes.append(of_class)
            q_parts.append(log_q.double())
            p_parts.append(model.prior_log_prob(z).double())
        values, log_q, log_p = torch.cat(f_parts), torch.cat(q_parts), torch.cat(p_parts)
        moments = moments_of_draws(beta, values, log_q - log_p)
        if of_kl or enough(moments) or done == MOST_ROUNDS:
            break
    if of_kl:
        moments = _kl_alone(tuned, moments, log_q - log_p, n, generator, enough)
    log_w = beta * values + log_p - log_q
    smoothed, k = pareto_smoothed(log_w)
    log_z, log_z_se = log_mean_weight(smoothed)
    constant = tuned.acceptance.log_mean_se.item() if tuned.acceptance else 0.0
    return Evaluation(
        moments=replace(
            moments,
            kl_se=math.hypot(moments.kl_se, constant),
            loss_se=math.hypot(moments.loss_se, constant),
        ),
        z=torch.cat(z_parts),
        f=values,
        log_ratio=log_q - log_p,
        constant_se=constant,
        ess_fraction=effective_sample_size(log_w) / values.numel(),
        pareto_k=k,
        log_z=log_z,
        log_z_se=math.hypot(log_z_se, constant),
        class_shares=_shares(f, classes),
        log_prob=log_q,
        tilted=beta * values + log_p,
    )


def _kl_alone(
    tuned: TunedModel,
    moments: Moments,
    log_ratio: Tensor,
    n: int,
    generator: torch.Generator,
    enough: Callable[[Moments], bool],
) -> Moments:
    """These moments with a KL of more draws, rounds of n, until there are enough: they need no f.

    L(β) stays that of the draws whose f is known.
    """
    ratios = [log_ratio]
    while not enough(moments) and len(ratios) < MOST_ROUNDS:
        z, log_q = tuned.draw(n, generator)
        ratios.append((log_q - tuned.model.prior_log_prob(z)).double())
        kl, kl_se = mean_and_error(torch.cat(ratios))
        moments = replace(moments, kl=kl, kl_se=kl_se)
    return moments


def compare(
    tuned: TunedModel,
    f: LatentCriterion,
    beta: float,
    log_z: float,
    evaluation: Evaluation,
    particles: Particles,
    independent: float,
) -> Overlap:
    """Lay q̂ and the reference's draws on each other.

    Args:
        tuned: q̂.
        f: f̂.
        beta: the tilt.
        log_z: log Z(β) of the reference, nats.
        evaluation: q̂'s own draws.
        particles: the reference's.
        independent: how many independent draws they are worth.
    """
    log_q = tuned.log_prob(particles.z).double()
    tilted = beta * particles.f + tuned.model.prior_log_prob(particles.z).double()
    upper, upper_se = log_z_bound(log_q - tilted, independent)
    return Overlap(
        coverage=_within(log_q, evaluation.log_prob),
        precision=_within(evaluation.tilted, tilted),
        forward_kl=(tilted - log_z - log_q).mean().item(),
        log_z_upper=upper,
        log_z_upper_se=math.hypot(upper_se, evaluation.constant_se),
        class_shares_ref=_classes_of(f, particles.z),
    )


def examine(
    tuned: TunedModel,
    f: LatentCriterion,
    beta: float,
    reference: ReferenceSource,
    n: int,
    generator: Callable[[str], torch.Generator],
    enough: Callable[[Moments], bool] = lambda _: True,
    keep: Callable[[Tensor, Tensor], None] = lambda z, f: None,
    *,
    of_kl: bool = False,
) -> Figures:
    """Hold a tuned model, however it came about, against the exact tilt.

    Args:
        tuned: q̂.
        f: the latent criterion f̂.
        beta: the tilt that it stands for.
        reference: the exact tilt.
        n: draws of q̂, at least.
        generator: one for each of the purposes "evaluation", "compare" and "fresh".
        enough: are the errors of these moments small enough?
        keep: given the draws of q̂ and their f, which have been paid for.
        of_kl: is it the KL's error alone that `enough` asks for?
    """
    evaluation = evaluate_tilt(tuned, f, beta, n, generator("evaluation"), enough, of_kl)
    keep(evaluation.z, evaluation.f.to(evaluation.z))
    own = reference.at(beta)
    found = sharpened(
        reference,
        own,
        tuned,
        evaluation.moments,
        evaluation.f,
        evaluation.log_ratio,
        evaluation.constant_se,
    )
    exact = found.reference
    particles = reference.particles(beta, N_COMPARE, generator("compare"))
    # The particles are the reference's own: what q̂ drew is no judge of what it covers.
    independent = max(min(float(N_COMPARE), worth(own)), 1.0)
    overlap = compare(tuned, f, beta, exact.log_z, evaluation, particles, independent)
    share = overlap.coverage
    start = reference.at(0.0)
    moments = evaluation.moments
    fresh = afresh(f, moments, evaluation.z, evaluation.f, reference, generator("fresh"))
    upper, upper_se = overlap.log_z_upper, overlap.log_z_upper_se
    contradicted = below_lower_bound(found.gap, found.gap_se) or above_upper_bound(
        exact.log_z, exact.log_z_se, upper, upper_se
    )
    return Figures(
        moments=moments,
        reference=replace(exact, reliable=exact.reliable and not contradicted),
        kl_gap=found.gap,
        kl_gap_se=found.gap_se,
        ess_fraction=evaluation.ess_fraction,
        pareto_k=evaluation.pareto_k,
        log_z=evaluation.log_z,
        log_z_se=evaluation.log_z_se,
        log_z_lower=-moments.loss,
        log_z_lower_se=moments.loss_se,
        log_z_upper=upper,
        log_z_upper_se=upper_se,
        fresh_mean=fresh.mean,
        fresh_mean_se=fresh.mean_se,
        noise_share=fresh.share,
        noise_share_se=fresh.share_se,
        log_weight_bound=log_weight_bound(
            beta * max(evaluation.f.max().item(), particles.f.max().item()), exact.log_z
        ),
        n_compare=int(independent),
        coverage=share,
        coverage_se=_share_error(share, independent),
        precision=overlap.precision,
        forward_kl=overlap.forward_kl,
        acceptance_rate=tuned.acceptance.rate if tuned.acceptance else 1.0,
        class_shares=evaluation.class_shares,
        class_shares_ref=overlap.class_shares_ref,
        beta_own=beta * (f.criterion.own_beta if isinstance(f.criterion, Rescaled) else 1.0),
        beta_normalized=beta * math.sqrt(max(start.var, 0.0)),
    )


def _share_error(share: float, n: float) -> float:
    """Standard error of a share of n draws; not 0 where all, or none, are in (Agresti & Coull)."""
    centre = (share * n + 2) / (n + 4)
    return math.sqrt(centre * (1 - centre) / (n + 4))


def _within(log_density: Tensor, own: Tensor) -> float:
    """Share of `log_density` above the threshold that leaves out `OUTSIDE` of `own`."""
    return (log_density >= own.quantile(OUTSIDE)).double().mean().item()


def _classes_of(f: LatentCriterion, z: Tensor) -> tuple[float, ...]:
    if not isinstance(f.criterion, Classified):
        return ()
    parts = [f.with_classes(part)[1] for part in z.split(CHUNK)]
    return _shares(f, [part for part in parts if part is not None])


def _shares(f: LatentCriterion, classes: list[Tensor]) -> tuple[float, ...]:
    if not isinstance(f.criterion, Classified):
        return ()
    counts = torch.bincount(torch.cat(classes), minlength=f.criterion.n_classes).double()
    return tuple((counts / counts.sum()).tolist())
