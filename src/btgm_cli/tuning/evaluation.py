"""Judging q̂ at one β from its own draws, against the reference."""

from __future__ import annotations

from collections.abc import Callable

import torch

from btgm_cli.core import Criterion, GenerativeModel, Moments
from btgm_cli.flows import Flow
from btgm_cli.references import CHUNK
from btgm_cli.sampling import TunedModel
from btgm_cli.tilt import effective_sample_size, moments_of_draws

MOST_ROUNDS = 16
"""At most this many times `n` draws, however fine the tolerance."""


def evaluate_tilt(
    model: GenerativeModel,
    criterion: Criterion,
    flow: Flow,
    beta: float,
    n: int,
    generator: torch.Generator,
    enough: Callable[[Moments], bool],
) -> tuple[Moments, float]:
    """Moments of q̂ from fresh draws, and the share of them that is effective for q_β.

    Draws rounds of n until `enough` says that the errors are small enough.

    Returns:
        The moments and `ess_fraction`, the effective share of importance weights p e^{βf} / q̂.
    """
    tuned = TunedModel(model, flow)
    all_f: list[torch.Tensor] = []
    all_ratios: list[torch.Tensor] = []
    for done in range(1, MOST_ROUNDS + 1):
        for size in [CHUNK] * (n // CHUNK) + [n % CHUNK] * (n % CHUNK > 0):
            z, log_q = tuned.latent(size, generator)
            with torch.no_grad():
                all_f.append(criterion(model.decode(z)).double())
            all_ratios.append((log_q - model.prior_log_prob(z)).double())
        f, ratio = torch.cat(all_f), torch.cat(all_ratios)
        moments = moments_of_draws(beta, f, ratio)
        if enough(moments) or done == MOST_ROUNDS:
            break
    return moments, effective_sample_size(beta * f - ratio) / f.numel()
