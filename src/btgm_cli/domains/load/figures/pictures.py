"""The pictures of Figs. 2, 8 and 9, drawn from their tables alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.domains.load.week_axes import (
    REAL,
    band_handles,
    days_of,
    draw_band,
    draw_weeks,
    week_axes,
)
from btgm_cli.report.marks import handle
from btgm_cli.report.style import REFERENCE, SMALL, TUNED, Array, column, in_house_style


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
    first = next(iter(criteria))
    if f"{first}_real_0" in curves:
        draw_weeks(real, _singles(curves, f"{first}_real"), REAL)
        _name(real, 0, "real, samples")
    else:
        real.remove()
    draw_weeks(prior, _singles(curves, f"{first}_p"), REFERENCE)
    _name(prior, 1, "p, samples")
    for k, (criterion, text) in enumerate(criteria.items()):
        left, right = panels[k + 1]
        draw_weeks(left, _singles(curves, f"{criterion}_tuned"), TUNED)
        _name(left, 2 * k + 2, f"tuned, samples: {text}")
        _bands(right, criterion, curves)
        _name(right, 2 * k + 3, "p and tuned")
    _finish(figure, real=_has_data(curves))
    return figure


@in_house_style
def bands_only(criteria: dict[str, str], curves: pd.DataFrame) -> Figure:
    """Figs. 8 and 9: for each criterion the bands of p and of the tuned model."""
    figure = Figure(figsize=(7.6, 2.8), layout="constrained")
    panels = figure.subplots(1, len(criteria))
    for k, (axes, (criterion, text)) in enumerate(zip(panels, criteria.items(), strict=True)):
        _bands(axes, criterion, curves)
        _name(axes, k, text)
    _finish(figure, real=_has_data(curves))
    return figure


def _bands(axes: Axes, criterion: str, curves: pd.DataFrame) -> None:
    for who, colour in (("p", REFERENCE), ("tuned", TUNED)):
        name = f"{criterion}_{who}"
        draw_band(axes, column(curves, f"{name}_mean"), column(curves, f"{name}_sd"), colour)
    if _has_data(curves):
        mean = column(curves, f"{criterion}_real_tilt_mean")
        axes.plot(days_of(len(mean)), mean, color=REAL, linewidth=0.7)


def _has_data(curves: pd.DataFrame) -> bool:
    return any(str(name).endswith("_real_tilt_mean") for name in curves)


def _singles(curves: pd.DataFrame, prefix: str) -> Array:
    """The single curves whose columns begin so, shape (n, points)."""
    every = map(str, curves)
    names = [name for name in every if name.rpartition("_")[0] == prefix and name[-1].isdigit()]
    return curves[names].to_numpy(np.float64).T


def _name(axes: Axes, rank: int, text: str) -> None:
    axes.set_title(f"({chr(ord('a') + rank)}) {text}", loc="left", fontsize=SMALL)


def _finish(figure: Figure, *, real: bool) -> None:
    for axes in figure.axes:
        week_axes(axes, label=axes.get_subplotspec().is_first_col())  # type: ignore[union-attr]
    handles = band_handles()
    if real:
        handles.append(handle(REAL, "real weeks tilted to the same KL, mean"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
