"""P(f > t) as draws alone have it: those of p, and those of the data that p is to be like."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.contracts import KnowsData
from btgm_cli.core.latent_criterion import LatentCriterion, evaluate
from btgm_cli.tilt.exceedance import PRIOR
from btgm_cli.truth.exceeding import Pooled

MOST_STEPS = 500
"""Of a staircase."""

DATA_DRAWS = 20_000

Rows = list[dict[str, Any]]


def of_prior(pooled: Pooled, sign: float) -> Rows:
    """A step for each of p's own draws of ±f, in reach of a logarithmic scale."""
    return _steps(pooled.f[pooled.source == PRIOR, 0], sign)


def of_data(f: LatentCriterion, sign: float, generator: torch.Generator) -> Rows:
    """A step for each of as many draws of the data; none where no data are at hand.

    Args:
        f: the latent criterion, whose model may know its data.
        sign: of f.
        generator: of the draws; one of the CPU.
    """
    if not isinstance(f.model, KnowsData):
        return []
    x = f.model.data_draws(DATA_DRAWS, generator)
    return [] if x is None else _steps(sign * evaluate(f.criterion, x), sign)


def _steps(values: Tensor, sign: float) -> Rows:
    """Steps of equal height on a logarithmic scale, of values (n,) of ±f."""
    own = values.double().sort(descending=True).values
    ranks = torch.logspace(0, math.log10(len(own)), MOST_STEPS).round().long().unique() - 1
    ranks = ranks.clamp(max=len(own) - 1)
    pairs = [(own[rank].item(), (rank.item() + 1) / len(own)) for rank in ranks]
    rows = [{"t": sign * t + 0.0, "probability": p} for t, p in pairs if math.isfinite(t)]
    return sorted(rows, key=lambda row: row["t"])
