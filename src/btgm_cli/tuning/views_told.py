"""What became of views, as plain data: a row for each, and the marginals of their criteria."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from btgm_cli.core.views import View
from btgm_cli.tilt.views import Weighed
from btgm_cli.tuning.views import ViewsTogether
from btgm_cli.tuning.visit import Visits

BINS = 60

OUTSIDE = 5e-4
"""Share of each distribution that may lie beyond either end of its histogram."""


@dataclass(frozen=True)
class ViewsTold:
    """Tables.

    Args:
        rows: of `views.csv`, one for each view.
        marginals: of `marginals.csv`, one for each bin of each criterion.
    """

    rows: list[dict[str, Any]]
    marginals: list[dict[str, Any]]


def views_told(found: ViewsTogether, visits: Visits) -> ViewsTold | None:
    """Each view under p, the exact tilt and the tuned model; None where p was already hopeless."""
    if not found.row():
        return None
    draws = {"under_p": found.prior, "exact": found.exact, "tuned": found.tuned(visits)}
    rows = [_row(found, j, view, draws) for j, view in enumerate(found.views)]
    firsts = {view.of: j for j, view in reversed(list(enumerate(found.views)))}
    bins = [row for of, j in sorted(firsts.items()) for row in _marginal(of, j, draws)]
    return ViewsTold(rows, bins)


def _row(found: ViewsTogether, j: int, view: View, draws: dict[str, Weighed]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "view": view.text,
        "criterion": view.of,
        "kind": str(view.kind),
        "sign": str(view.sign),
        "asked": view.value,
        "at": view.at,
    }
    for name, drawn in draws.items():
        row[name], row[f"{name}_se"] = drawn.told(j, view)
    return row | {
        "multiplier": found.tilted.multipliers[j].item(),
        "cut": found.tilted.cuts[j].item(),
        "met": found.grants(j, view, draws["exact"]),
        "met_by_tuned": found.grants(j, view, draws["tuned"]),
    }


def _marginal(of: str, j: int, draws: dict[str, Weighed]) -> list[dict[str, Any]]:
    """Shares of each distribution in bins of one criterion."""
    ends = [
        drawn.quantile(j, share) for drawn in draws.values() for share in (OUTSIDE, 1 - OUTSIDE)
    ]
    edges = torch.linspace(min(ends), max(ends), BINS + 1, dtype=torch.double)
    shares = {name: _histogram(drawn, j, edges) for name, drawn in draws.items()}
    return [
        {"criterion": of, "low": edges[i].item(), "high": edges[i + 1].item()}
        | {name: share[i].item() for name, share in shares.items()}
        for i in range(BINS)
    ]


def _histogram(drawn: Weighed, j: int, edges: Tensor) -> Tensor:
    f, noises = drawn.values[..., j], drawn.values.shape[1]
    weights = (drawn.weights / noises)[:, None].expand_as(f)
    return torch.histogram(f.flatten(), edges, weight=weights.flatten().contiguous()).hist
