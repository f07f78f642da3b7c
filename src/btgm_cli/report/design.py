"""`design_points.png`: the likeliest x of each region, an image or a curve in a panel each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from btgm_cli.report import save
from btgm_cli.report.exceedance import ABOUT
from btgm_cli.report.samples import CURVE_LENGTH, regular
from btgm_cli.report.strips import grey_scale
from btgm_cli.report.style import TITLE, TUNED, column, in_house_style
from btgm_cli.store.tables import read_table

POINTS, POINTS_X = "design_points.csv", "design_points.npy"
"""Where they are, and the x that are decoded from them: shape (points, draws, *X)."""

POINTS_PICTURE = "design_points.png"

MOST_SHOWN = 6
"""Panels, and lines on the terminal."""


def draw_design_points(path: Path) -> Path | None:
    """Write the picture from the files in the folder `path`; None where x cannot be seen."""
    about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
    x = np.load(path / POINTS_X, allow_pickle=False)[:MOST_SHOWN]
    if x.ndim < 4 and x[0, 0].size < CURVE_LENGTH:
        return None
    table = read_table(path / POINTS)
    region = f"f {'>' if about['side'] == 'above' else '<'} {table['t'].iloc[0]:g}"
    heading = f"{about['model']} / {about['criterion']}: the likeliest x with {region}"
    figure = design_figure(table, x, heading)
    return save(figure, path / POINTS_PICTURE)


@in_house_style
def design_figure(table: pd.DataFrame, x: NDArray[np.float32], heading: str) -> Figure:
    """A panel for each of x (points, draws, *X), with its share of P and its distance.

    Args:
        table: the rows of `design_points.csv`.
        x: images, of which the first draw is shown, or curves, of which all are.
        heading: above all.
    """
    shown = [regular(draws) for draws in x]
    is_curve = shown[0].ndim == 2
    width, height = (2.6, 2.0) if is_curve else (1.5, 1.9)
    figure = Figure(figsize=(max(width * len(shown), 3.4), height), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    low, high = grey_scale(shown)
    share, distance = column(table, "share"), column(table, "distance")
    for axes, draws, part, far in zip(panels, shown, share, distance, strict=False):
        if is_curve:
            _curves(axes, draws)
        else:
            axes.imshow(draws[0], cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.grid(visible=False)
        axes.set_title(f"|z| = {far:.2f}, {part:.0%} of P")
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    return figure


def _curves(axes: Axes, draws: NDArray[np.float32]) -> None:
    for curve in draws:
        axes.plot(curve, color=TUNED, linewidth=0.8, alpha=0.8)
    axes.set_xlabel("entry of x")
