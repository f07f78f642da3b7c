"""The picture of views: each criterion under p, the exact tilt and the tuned model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.report.marks import handle
from btgm_cli.report.style import MUTED, REFERENCE, SMALL, TUNED, column, in_house_style
from btgm_cli.store.runs import Run
from btgm_cli.store.tables import MARGINALS, VIEWS, read_table

PICTURE = "views.png"

PANEL = (4.4, 3.3)
"""Inches."""
MOST_COLUMNS = 4

DARK = "#222222"

LEAST = 1e-6
"""Share of a bin below which nothing is drawn."""

WORDS = {"E": "mean", "P": "threshold", "CVaR": "mean of the tail"}

COLOURS = {"under_p": MUTED, "exact": REFERENCE, "tuned": TUNED}


@in_house_style
def views_figure(run: Run) -> Figure | None:
    """A panel for each criterion; None for a run without views."""
    views, marginals = read_table(run.path / VIEWS), read_table(run.path / MARGINALS)
    if not (len(views) and len(marginals)):
        return None
    names = list(dict.fromkeys(views["criterion"]))
    columns = min(len(names), MOST_COLUMNS)
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for spare in grid.flat[len(names) :]:
        spare.remove()
    for axes, name in zip(grid.flat, names, strict=False):
        _draw_marginal(axes, marginals[marginals["criterion"] == name])
        own = views[views["criterion"] == name]
        for _, view in own.iterrows():
            _mark(axes, view)
        axes.set(xlabel=name, yscale="log")
        axes.set_title(
            "\n".join(_line(view) for _, view in own.iterrows()), loc="left", size=SMALL
        )
    for first in grid[:, 0]:
        first.set_ylabel("share of draws in a bin")
    labels = zip((MUTED, REFERENCE, TUNED), ("p", "exact tilt", "tuned model"), strict=True)
    handles = [handle(colour, label) for colour, label in labels]
    handles.append(handle(DARK, "what is asked", linestyle=":"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _draw_marginal(axes: Axes, table: pd.DataFrame) -> None:
    """Histograms as steps."""
    edges = np.append(column(table, "low"), column(table, "high")[-1])
    for name, colour in COLOURS.items():
        share = column(table, name)
        axes.stairs(np.where(share > LEAST, share, np.nan), edges, color=colour, linewidth=1.2)


def _mark(axes: Axes, view: Any) -> None:
    """Where the view looks: its mean, its threshold, or its tail and the mean of that."""
    kind = view["kind"]
    at = view["at"] if kind == "P" else view["asked"]
    axes.axvline(at, color=DARK, linewidth=1.0, linestyle=":")
    top = axes.get_xaxis_transform()
    axes.text(at, 1.0, f" {WORDS[kind]}", transform=top, size=SMALL, va="top")
    if kind == "CVaR":
        right = axes.get_xlim()[1]
        axes.axvspan(view["cut"], right, color=MUTED, alpha=0.12, linewidth=0)
        axes.set_xlim(right=right)


def _line(view: Any) -> str:
    """A view, and what became of it."""
    met = "met" if view["met"] else "missed"
    return f"{view['view']}: p {view['under_p']:.3g}, exact tilt {view['exact']:.4g}, {met}"
