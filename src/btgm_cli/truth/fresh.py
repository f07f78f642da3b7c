"""What fresh noise confirms of a move of E f, where f̂ of a stochastic decoder has fixed noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from btgm_cli.core.contracts import ReferenceSource
from btgm_cli.core.latent_criterion import CHUNK, LatentCriterion
from btgm_cli.core.results import Moments

FRESH_NOISES = 16
"""For each draw, where the noise behind f̂ is fixed."""


@dataclass(frozen=True)
class Afresh:
    """E f with fresh noise, and what it does not confirm of the move; see `results.Figures`."""

    mean: float
    mean_se: float
    share: float
    share_se: float


def afresh(
    f: LatentCriterion,
    moments: Moments,
    z: Tensor,
    values: Tensor,
    reference: ReferenceSource,
    noise: torch.Generator,
) -> Afresh:
    """E f of q̂ with fresh noise, beside the fixed noise that q̂ was tuned on.

    Args:
        f: the latent criterion f̂.
        moments: of q̂, from its draws.
        z: those draws, shape (n, D).
        values: f̂ on them, shape (n,), float64.
        reference: the exact tilts, for draws of p.
        noise: of fresh noise, and of those draws.
    """
    if not f.is_stochastic:
        return Afresh(moments.mean, moments.mean_se, 0.0, 0.0)
    n = moments.n
    fresh = _with_fresh(f, z, noise)
    # Pairs of the same z: what z adds to the error falls out. What the noise adds to f everywhere
    # is no part of the move.
    of_p = reference.particles(0.0, n, noise)
    excess, offset = values - fresh, of_p.f - _with_fresh(f, of_p.z, noise)
    move = moments.mean - of_p.f.mean().item()
    error = math.hypot(excess.std().item(), offset.std().item()) / math.sqrt(n)
    # Where E f has not moved there is nothing to share.
    told = abs(move) > 4 * math.hypot(moments.mean_se, error)
    return Afresh(
        mean=fresh.mean().item(),
        mean_se=fresh.std().item() / math.sqrt(n),
        share=(excess.mean() - offset.mean()).item() / move if told else 0.0,
        share_se=error / abs(move) if told else 0.0,
    )


def _with_fresh(f: LatentCriterion, z: Tensor, noise: torch.Generator) -> Tensor:
    """The mean of f over fresh noises for each z (n, D), shape (n,), float64."""
    parts = [f.afresh(part, FRESH_NOISES, noise).double().mean(1) for part in z.split(CHUNK)]
    return torch.cat(parts)
