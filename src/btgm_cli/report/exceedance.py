"""The exceedance plot: P(f > t) against t on a logarithmic scale, beside p's own draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.report import save
from btgm_cli.report.style import MUTED, REFERENCE, TITLE, TUNED, column, in_house_style
from btgm_cli.store.tables import read_table

ABOUT, TABLE, LEVELS = "probability.json", "probability.csv", "levels.csv"
CURVE, EMPIRICAL, DATA = "curve.csv", "empirical.csv", "data.csv"
"""What the picture is drawn from."""

DECADE = 10.0

DARK = "#222222"


@in_house_style
def draw_exceedance(path: Path) -> list[Path]:
    """Write `exceedance.png` and `.pdf` from the files in the folder `path`."""
    about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    names = (TABLE, CURVE, EMPIRICAL, LEVELS, DATA)
    figure = exceedance_figure(about, *(read_table(path / name) for name in names))
    return [save(figure, path / f"exceedance.{kind}") for kind in ("png", "pdf")]


@in_house_style
def exceedance_figure(
    about: dict[str, Any],
    table: pd.DataFrame,
    curve: pd.DataFrame,
    empirical: pd.DataFrame,
    levels: pd.DataFrame,
    data: pd.DataFrame,
) -> Figure:
    """The probabilities that may be believed with their intervals, the curve, and p's own draws.

    Args:
        about: of `probability.json`.
        table: the rows of `probability.csv`.
        curve: those of `curve.csv`: a band.
        empirical: those of `empirical.csv`.
        levels: those of `levels.csv`; empty where none were asked for.
        data: those of `data.csv`; empty where no data are known.
    """
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.subplots()
    _band(axes, curve)
    _staircase(axes, empirical, REFERENCE, f"{about['draws_of_p']:,} draws of p alone")
    _staircase(axes, data, DARK, f"{about['draws_of_data']:,} draws of the data")
    _points(axes, table)
    for level in column(levels, "level"):
        axes.axvline(level, color=MUTED, linewidth=0.8, linestyle=":")
    sign = ">" if about["side"] == "above" else "<"
    axes.set(yscale="log", xlabel=f"t ({about['criterion']})", ylabel=f"$P_p(f {sign} t)$")
    ends = (curve, "low"), (table, "high"), (data, "probability")
    shown = np.concatenate([column(frame, name) for frame, name in ends])
    shown = shown[np.isfinite(shown) & (shown > 0)]
    if len(shown):
        axes.set_ylim(shown.min() / DECADE**0.5, 2.0)
    axes.legend(loc="best")
    figure.suptitle(f"{about['model']} / {about['criterion']}", x=0.01, ha="left", fontsize=TITLE)
    return figure


def _band(axes: Axes, curve: pd.DataFrame) -> None:
    """The estimate along t with its 95 % interval."""
    t = column(curve, "t")
    low = np.maximum(column(curve, "low"), np.finfo(float).tiny)
    axes.fill_between(t, low, column(curve, "high"), color=TUNED, alpha=0.25, linewidth=0)
    axes.plot(t, column(curve, "probability"), color=TUNED, label="all draws, 95 % interval")


def _staircase(axes: Axes, table: pd.DataFrame, colour: str, label: str) -> None:
    """What draws alone tell."""
    if len(table):
        t, probability = column(table, "t"), column(table, "probability")
        axes.step(t, probability, where="post", color=colour, linewidth=1.0, label=label)


def _points(axes: Axes, table: pd.DataFrame) -> None:
    """What was asked for: intervals as bars, upper bounds as arrows down."""
    p, low, high = (column(table, name) for name in ("probability", "low", "high"))
    known = np.isfinite(p) & (p > 0)
    t = column(table, "t")
    axes.errorbar(
        t[known],
        p[known],
        yerr=[(p - low)[known], (high - p)[known]],
        fmt="o",
        markersize=3,
        color=TUNED,
        linewidth=1.0,
    )
    bound = ~known & np.isfinite(high)
    axes.plot(t[bound], high[bound], "v", color=MUTED, markersize=5, label=_bound_label(bound))


def _bound_label(bound: np.ndarray) -> str:
    """Nothing is in the legend where no bound is drawn."""
    return "upper bound" if bound.any() else "_"
