"""Weekly load curves in kW against the days, Monday first."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from btgm_cli.report.marks import handle
from btgm_cli.report.style import REFERENCE, SMALL, TUNED, Array

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
SHOWN = 4
"""Single curves in a panel: more cannot be told apart."""

REAL = "#222222"


def week_axes(axes: Axes, *, days: bool = True, label: bool = True) -> None:
    """Ticks at midnight, names of the days between them, kW from zero."""
    axes.set(xlim=(0, 7), ylim=(0, None))
    axes.set_xticks(range(8), [""] * 8)
    axes.set_xticks(np.arange(7) + 0.5, DAYS if days else [""] * 7, minor=True)
    axes.tick_params(axis="x", which="minor", length=0, labelsize=SMALL)
    if label:
        axes.set_ylabel("kW")


def days_of(points: int) -> Array:
    """Where each point of a week lies on the axis of days, shape (points,)."""
    return np.arange(points) * 7.0 / points


def draw_band(axes: Axes, mean: Array, sd: Array, colour: str) -> None:
    """Mean and one standard deviation to either side, not below zero, each of shape (points,)."""
    at = days_of(len(mean))
    axes.fill_between(at, (mean - sd).clip(0), mean + sd, color=colour, alpha=0.22, linewidth=0)
    axes.plot(at, mean, color=colour, linewidth=0.9)


def draw_weeks(axes: Axes, curves: Array, colour: str) -> None:
    """Single curves (n, points), the first in full colour and the others paler."""
    for rank, curve in reversed([*enumerate(curves)]):
        alpha = 1.0 if rank == 0 else 0.4
        axes.plot(days_of(len(curve)), curve, color=colour, linewidth=0.7, alpha=alpha)


def band_handles(tuned: str = "tuned model") -> list[Line2D]:
    """What the two bands are, for a legend."""
    return [
        handle(REFERENCE, "p, mean ± standard deviation"),
        handle(TUNED, f"{tuned}, mean ± standard deviation"),
    ]
