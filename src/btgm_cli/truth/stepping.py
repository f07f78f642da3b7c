"""How far up the next rung of a tempered SMC may be, so that reweighting to it is safe."""

from __future__ import annotations

import torch
from torch import Tensor

from btgm_cli.tilt.bisection import bisect, half
from btgm_cli.tilt.estimates import pareto_k

LARGEST_RUNG_K = 0.3
"""Pareto k̂ of the weights of the first step, which of many draws keeps few."""


def safe_step(f: Tensor, share: float) -> float:
    """The Δβ at which the least effective population keeps this share of its particles."""

    def effective(step: float) -> float:
        log_w = step * f
        log_ess = 2 * torch.logsumexp(log_w, -1) - torch.logsumexp(2 * log_w, -1)
        return log_ess.exp().min().item() / f.shape[-1]

    spread = max(f.std().item(), 1e-300)
    low, high = 0.0, 1.0 / spread
    while effective(high) > share and high * spread < 1e6:
        low, high = high, 2 * high
    return half(*bisect(lambda step: effective(step) > share, low, high, 40))


def tame_step(f: Tensor, most: float) -> float:
    """The largest Δβ, up to `most`, at which the weights e^{Δβ f} have a variance, and to spare.

    Of many draws a few effective ones may seem enough, where f grows without bound; what is yet to
    come of such a tail is not in the spread of the populations.
    """

    def tame(step: float) -> bool:
        return pareto_k(step * f) <= LARGEST_RUNG_K

    # Never far below: where most of the tail is equal no k̂ tells anything.
    return most if tame(most) else half(*bisect(tame, most / 4, most, 12))
