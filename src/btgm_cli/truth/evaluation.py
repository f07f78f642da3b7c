"""Judging q̂ at one β from its own draws and from the reference's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from btgm_cli.core.contracts import Classified
from btgm_cli.core.latent_criterion import CHUNK, LatentCriterion
from btgm_cli.core.results import Moments, Particles
from btgm_cli.tilt.estimates import (
    effective_sample_size,
    log_mean_weight,
    moments_of_draws,
    pareto_smoothed,
)
from btgm_cli.tuned.model import TunedModel

MOST_ROUNDS = 16
"""At most this many times `n` draws, however fine the tolerance."""

OUTSIDE = 0.01
"""A region of highest density leaves out this share of the distribution."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of q̂ from its own draws; `log_prob` and `tilted` are log q̂ and log p + βf on them.

    See `core.PathPoint` for the figures.
    """

    moments: Moments
    ess_fraction: float
    pareto_k: float
    log_z: float
    log_z_se: float
    class_shares: tuple[float, ...]
    log_prob: Tensor
    tilted: Tensor


@dataclass(frozen=True)
class Overlap:
    """How q̂ and the reference's draws lie on each other; see `core.PathPoint`."""

    coverage: float
    precision: float
    forward_kl: float
    class_shares_ref: tuple[float, ...]


def evaluate_tilt(
    tuned: TunedModel,
    latent: LatentCriterion,
    beta: float,
    n: int,
    generator: torch.Generator,
    enough: Callable[[Moments], bool],
) -> Evaluation:
    """Figures of q̂ from fresh draws: rounds of n until `enough` says the errors are small."""
    model = tuned.model
    f_parts: list[Tensor] = []
    q_parts: list[Tensor] = []
    p_parts: list[Tensor] = []
    classes: list[Tensor] = []
    for done in range(1, MOST_ROUNDS + 1):
        for size in [CHUNK] * (n // CHUNK) + [n % CHUNK] * (n % CHUNK > 0):
            z, log_q = tuned.draw(size, generator)
            values, of_class = latent.with_classes(z)
            f_parts.append(values.double())
            if of_class is not None:
                classes.append(of_class)
            q_parts.append(log_q.double())
            p_parts.append(model.prior_log_prob(z).double())
        f, log_q, log_p = torch.cat(f_parts), torch.cat(q_parts), torch.cat(p_parts)
        moments = moments_of_draws(beta, f, log_q - log_p)
        if enough(moments) or done == MOST_ROUNDS:
            break
    log_w = beta * f + log_p - log_q
    smoothed, k = pareto_smoothed(log_w)
    log_z, log_z_se = log_mean_weight(smoothed)
    constant = tuned.acceptance.log_mean_se.item() if tuned.acceptance else 0.0
    return Evaluation(
        moments=replace(
            moments,
            kl_se=math.hypot(moments.kl_se, constant),
            loss_se=math.hypot(moments.loss_se, constant),
        ),
        ess_fraction=effective_sample_size(log_w) / f.numel(),
        pareto_k=k,
        log_z=log_z,
        log_z_se=math.hypot(log_z_se, constant),
        class_shares=_shares(latent, classes),
        log_prob=log_q,
        tilted=beta * f + log_p,
    )


def compare(
    tuned: TunedModel,
    latent: LatentCriterion,
    beta: float,
    log_z: float,
    evaluation: Evaluation,
    particles: Particles,
) -> Overlap:
    """Lay q̂ and the reference's draws on each other.

    Args:
        tuned: q̂.
        latent: f̂.
        beta: the tilt.
        log_z: log Z(β) of the reference, nats.
        evaluation: q̂'s own draws.
        particles: the reference's.
    """
    log_q = tuned.log_prob(particles.z).double()
    tilted = beta * particles.f + tuned.model.prior_log_prob(particles.z).double()
    return Overlap(
        coverage=_within(log_q, evaluation.log_prob),
        precision=_within(evaluation.tilted, tilted),
        forward_kl=(tilted - log_z - log_q).mean().item(),
        class_shares_ref=_classes_of(latent, particles.z),
    )


def _within(log_density: Tensor, own: Tensor) -> float:
    """Share of `log_density` above the threshold that leaves out `OUTSIDE` of `own`."""
    return (log_density >= own.quantile(OUTSIDE)).double().mean().item()


def _classes_of(latent: LatentCriterion, z: Tensor) -> tuple[float, ...]:
    if not isinstance(latent.criterion, Classified):
        return ()
    parts = [latent.with_classes(part)[1] for part in z.split(CHUNK)]
    return _shares(latent, [part for part in parts if part is not None])


def _shares(latent: LatentCriterion, classes: list[Tensor]) -> tuple[float, ...]:
    if not isinstance(latent.criterion, Classified):
        return ()
    counts = torch.bincount(torch.cat(classes), minlength=latent.criterion.n_classes).double()
    return tuple((counts / counts.sum()).tolist())
