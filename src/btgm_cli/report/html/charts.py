"""The charts of a page: one run with its reference, or fronts and how far their seeds spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from btgm_cli.report.html.embedding import SERIES
from btgm_cli.report.html.seeds import Front, scale_under_p
from btgm_cli.report.marks import handle, legend_handles
from btgm_cli.report.pareto import draw_front, label_betas
from btgm_cli.report.style import (
    BETA_LABEL,
    KL_LABEL,
    MEAN_LABEL,
    MUTED,
    Array,
    column,
    flags,
    in_house_style,
)
from btgm_cli.report.theory import draw_panel
from btgm_cli.store.runs import Run

WIDTH, PANEL = 4.8, 3.0
"""Of a chart, and the height of its panel, in inches: legible on a telephone, too."""

LEFT, BOTTOM, TOP, ENTRY = 0.68, 0.46, 0.1, 0.19
"""What is around a panel, and a line of the legend below, in inches."""

MARKERS = "osD^vPX*"
SHIFT_LABEL = r"$(\mathrm{E}_q\,f - \mathrm{E}_p\,f)\;/\;\mathrm{sd}_p\,f$"


@in_house_style
def run_front(run: Run) -> Figure:
    """E_q f against KL(q‖p), nats, of one run, with bars of two standard errors."""
    figure, axes = _chart(legend_handles(run))
    drawn = draw_front(axes, run)
    label_betas(axes, run, drawn)
    return figure


@in_house_style
def run_theory(run: Run, name: str) -> Figure:
    """E_q f (`mean_f`) or KL(q‖p) (`kl`, nats) against β, of one run."""
    figure, axes = _chart(legend_handles(run))
    draw_panel(axes, run, name)
    axes.set(xlabel=BETA_LABEL, ylabel=MEAN_LABEL if name == "mean_f" else KL_LABEL)
    return figure


@in_house_style
def fronts_chart(fronts: Sequence[Front], *, standardized: bool, k: int = 0) -> Figure:
    """Fronts over each other, with bands of one standard error over seeds; exact tilts dotted.

    Args:
        fronts: what to draw.
        standardized: E f as its shift in standard deviations under p, so that criteria of
            different scales share an axis; else in its own unit.
        k: place of the first one among all fronts, which says how it looks.
    """
    figure, axes = _chart(_legend(fronts, k))
    name = "shift" if standardized else "mean_f"
    for at, front in enumerate(fronts, start=k):
        colour, marker = _look(at)
        for run in front.runs:
            start, spread = scale_under_p(run) if standardized else (0.0, 1.0)
            exact = (column(run.theory, "mean_f") - start) / spread
            _exact(axes, column(run.theory, "kl"), exact, run, colour)
        _points(axes, front, ("kl", name), colour, marker, joined=True)
    axes.set(xlabel=KL_LABEL, ylabel=SHIFT_LABEL if standardized else MEAN_LABEL)
    return figure


@in_house_style
def theory_chart(front: Front, name: str, k: int = 0) -> Figure:
    """E_q f (`mean_f`) or KL(q‖p) (`kl`, nats) of front k against β; exact tilts dotted."""
    figure, axes = _chart(_legend([front], k))
    colour, marker = _look(k)
    for run in front.runs:
        _exact(axes, column(run.theory, "beta"), column(run.theory, name), run, colour)
    _points(axes, front, ("beta", name), colour, marker, joined=False)
    axes.set(xlabel=BETA_LABEL, ylabel=MEAN_LABEL if name == "mean_f" else KL_LABEL)
    return figure


def _chart(legend: Sequence[Line2D]) -> tuple[Figure, Axes]:
    """A panel above its legend; fixed margins take a tenth of the time of computed ones."""
    below = ENTRY * len(legend) + 0.1
    height = below + BOTTOM + PANEL + TOP
    figure = Figure(figsize=(WIDTH, height))
    box = np.array([LEFT, below + BOTTOM, WIDTH - LEFT - TOP, PANEL])
    axes = figure.add_axes(tuple(box / np.tile([WIDTH, height], 2)))
    figure.legend(handles=legend, loc="lower left", borderaxespad=0.2)
    return figure, axes


def _look(k: int) -> tuple[str, str]:
    """Colour and marker of a series; no two of the first 24 have both in common."""
    return SERIES[k % len(SERIES)], MARKERS[k % len(MARKERS)]


def _exact(axes: Axes, x: Array, y: Array, run: Run, colour: str) -> None:
    """A reference along β, fainter where it is not reliable."""
    reliable = flags(run.theory, "reliable")
    for known, alpha in ((reliable, 0.9), (~reliable, 0.35)):
        shown = np.where(known, y, np.nan)
        axes.plot(x, shown, ":", color=colour, linewidth=1.0, alpha=alpha, label="exact")


def _points(
    axes: Axes, front: Front, names: tuple[str, str], colour: str, marker: str, *, joined: bool
) -> None:
    """The points of a front, one standard error over seeds as bars, and as a band if joined."""
    (x, x_se), (y, y_se) = map(front.figure, names)
    order = np.argsort(x)
    x, x_se, y, y_se = x[order], np.nan_to_num(x_se[order]), y[order], np.nan_to_num(y_se[order])
    if joined:
        axes.fill_between(x, y - y_se, y + y_se, color=colour, alpha=0.22, linewidth=0)
        axes.plot(x, y, color=colour, linewidth=0.8, alpha=0.5)
    axes.errorbar(
        x,
        y,
        xerr=x_se if x_se.any() else None,
        yerr=y_se if y_se.any() else None,
        color=colour,
        marker=marker,
        markersize=4.5,
        linestyle="none",
        elinewidth=0.9,
        label="tuned",
    )
    axes.margins(0.07)


def _legend(fronts: Sequence[Front], k: int) -> list[Line2D]:
    looks = [_look(at) for at in range(k, k + len(fronts))]
    handles = [
        handle(colour, front.label, marker=marker, linestyle="none")
        for front, (colour, marker) in zip(fronts, looks, strict=True)
    ]
    return [*handles, handle(MUTED, "exact tilts, a line a seed", linestyle=":")]
