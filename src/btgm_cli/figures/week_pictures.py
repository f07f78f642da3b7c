"""The pictures of Figs. 2, 8 and 9, drawn from their tables alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.report.style import REFERENCE, SMALL, TUNED, Array, column, in_house_style
from btgm_cli.report.weeks import REAL, band_handles, draw_band, draw_weeks, week_axes


@in_house_style
def bands_and_curves(criteria: dict[str, str], curves: pd.DataFrame) -> Figure:
    """Fig. 2: real curves and p's above; below, for each criterion, curves and bands.

    Args:
        criteria: their titles, by name.
        curves: a row for each point of the week, kW.
    """
    rows = len(criteria) + 1
    figure = Figure(figsize=(7.6, 1.9 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, 2, sharey="row")
    real, prior = panels[0]
    if "real_0" in curves:
        draw_weeks(real, _singles(curves, "real"), REAL)
        _name(real, 0, "real, held-out weeks")
    else:
        real.remove()
    draw_weeks(prior, _singles(curves, f"{next(iter(criteria))}_p"), REFERENCE)
    _name(prior, 1, "p, samples")
    for k, (criterion, text) in enumerate(criteria.items()):
        left, right = panels[k + 1]
        draw_weeks(left, _singles(curves, f"{criterion}_tuned"), TUNED)
        _name(left, 2 * k + 2, f"tuned, samples: {text}")
        _bands(right, criterion, curves)
        _name(right, 2 * k + 3, "p and tuned")
    _finish(figure)
    return figure


@in_house_style
def bands_only(criteria: dict[str, str], curves: pd.DataFrame) -> Figure:
    """Figs. 8 and 9: for each criterion the bands of p and of the tuned model."""
    figure = Figure(figsize=(7.6, 2.8), layout="constrained")
    panels = figure.subplots(1, len(criteria))
    for k, (axes, (criterion, text)) in enumerate(zip(panels, criteria.items(), strict=True)):
        _bands(axes, criterion, curves)
        _name(axes, k, text)
    _finish(figure)
    return figure


def _bands(axes: Axes, criterion: str, curves: pd.DataFrame) -> None:
    for who, colour in (("p", REFERENCE), ("tuned", TUNED)):
        name = f"{criterion}_{who}"
        draw_band(axes, column(curves, f"{name}_mean"), column(curves, f"{name}_sd"), colour)


def _singles(curves: pd.DataFrame, prefix: str) -> Array:
    """The single curves whose columns begin so, shape (n, points)."""
    every = map(str, curves)
    names = [name for name in every if name.rpartition("_")[0] == prefix and name[-1].isdigit()]
    return curves[names].to_numpy(np.float64).T


def _name(axes: Axes, rank: int, text: str) -> None:
    axes.set_title(f"({chr(ord('a') + rank)}) {text}", loc="left", fontsize=SMALL)


def _finish(figure: Figure) -> None:
    for axes in figure.axes:
        week_axes(axes, label=axes.get_subplotspec().is_first_col())  # type: ignore[union-attr]
    figure.legend(handles=band_handles(), loc="outside lower center", ncols=2)
