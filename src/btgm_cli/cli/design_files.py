"""Design points of an answer: found from draws that are paid for, written, drawn and told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.contracts import StochasticDecoder
from btgm_cli.core.latent_criterion import LatentCriterion, draw_x, evaluate
from btgm_cli.report.design import (
    MOST_SHOWN,
    POINTS,
    POINTS_PICTURE,
    POINTS_X,
    draw_design_points,
)
from btgm_cli.store.files import npy_bytes, write_bytes
from btgm_cli.store.tables import write_table
from btgm_cli.truth.design_points import DesignPoint, design_points
from btgm_cli.truth.exceeding import Pooled

DESIGN_FILES = (POINTS, POINTS_X, POINTS_PICTURE)

DRAWS_OF_X = 5
"""That are shown of each point, where the decoder is stochastic."""


@dataclass(frozen=True)
class Design:
    """The design points at one threshold, and what they have cost.

    Args:
        t: threshold, of ±f.
        points: the one with the largest share first.
        evaluations: of f.
    """

    t: float
    points: Sequence[DesignPoint]
    evaluations: int


def design_of(f: LatentCriterion, pooled: Pooled, sign: float, t: float) -> Design:
    """The design points above a threshold t of ±f.

    Args:
        f: the latent criterion, whose f̂ decides what is above.
        pooled: draws of ±f.
        sign: of f.
        t: threshold, of ±f.
    """
    spent = 0

    def value(z: Tensor) -> Tensor:
        nonlocal spent
        spent += len(z) * f.f_samples
        return sign * evaluate(f, z)

    y = pooled.whole.above(t)
    own = y > 0
    found = design_points(value, f.model.prior_log_prob, pooled.z[own], y[own], t)
    return Design(t, found, spent)


def write_design(
    design: Design, f: LatentCriterion, sign: float, generator: torch.Generator, out: Path
) -> None:
    """Write the points and their x, and draw them where x can be seen."""
    if not design.points:
        return
    write_table(out / POINTS, [_row(design, point, sign) for point in design.points])
    z = torch.stack([point.z for point in design.points])
    draws = DRAWS_OF_X if isinstance(f.model, StochasticDecoder) else 1
    x = torch.stack([draw_x(f.model, z, generator) for _ in range(draws)], 1)
    write_bytes(out / POINTS_X, npy_bytes(x.cpu().numpy()))
    draw_design_points(out)


def tell_design(design: Design, sign: float) -> None:
    """A line for each of the points, as far as they are shown."""
    of = f"P(f {'>' if sign > 0 else '<'} {sign * design.t:g})"
    if not design.points:
        print(f"no design point: {of} is made by the decoder's noise, not by z alone")
    for number, point in enumerate(design.points[:MOST_SHOWN], 1):
        at = f"|z| = {point.distance:.3f}, f = {sign * point.f:.6g}, log p = {point.log_p:.2f}"
        print(f"design point {number}: {at}, {point.share:.1%} of {of}")
    if (more := len(design.points) - MOST_SHOWN) > 0:
        print(f"and {more} more in {POINTS}")


def _row(design: Design, point: DesignPoint, sign: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "t": sign * design.t + 0.0,
        "share": point.share,
        "distance": point.distance,
        "f": sign * point.f + 0.0,
        "log_p": point.log_p,
    }
    return row | {f"z_{index}": value for index, value in enumerate(point.z.tolist())}
