"""The draws of each β on one scale, so that a slider over β changes the draws alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from btgm_cli.report.html.embedding import chart_uri, image_uri
from btgm_cli.report.samples import CURVE_LENGTH, regular
from btgm_cli.report.strips import grey_scale, strip_of, value_range
from btgm_cli.report.style import MUTED, TUNED, beta_text, column, in_house_style, kl_text
from btgm_cli.store.runs import Run

Samples = NDArray[np.float32]

IMAGES_PER_ROW = 8
CURVES_PER_ROW = 4
PANEL = (4.6, 3.4)
"""Inches."""


@dataclass(frozen=True)
class Shot:
    """The draws of one β.

    Args:
        label: β and its KL.
        uri: the picture; empty where there are no draws.
        pixels: is it made of pixels, to be kept sharp?
        alt: what is in it.
    """

    label: str
    uri: str
    pixels: bool
    alt: str


def shots(run: Run, most: int) -> list[Shot]:
    """At most `most` draws of each β, all on one scale."""
    rows = zip(column(run.pareto, "beta"), column(run.pareto, "kl"), strict=True)
    labels = [f"{beta_text(beta)}, {kl_text(kl)}" for beta, kl in rows]
    samples = [regular(x)[:most] for x in run.samples[: len(labels)]]
    shape = next((x.shape[1:] for x in samples if len(x)), None)
    drawn = [x if len(x) and x.shape[1:] == shape else None for x in samples]
    whole = [x for x in drawn if x is not None]
    return [
        _shot(label, x, whole) if x is not None else Shot(label, "", False, "no draws")
        for label, x in zip(labels, [*drawn, *[None] * (len(labels) - len(drawn))], strict=True)
    ]


def _shot(label: str, x: Samples, others: list[Samples]) -> Shot:
    """Draws x (n, *X), on the scale of all of `others`."""
    what = f"draws of the tuned model at {label}"
    if x.ndim >= 3:
        low, high = grey_scale(others)
        pixels = image_uri(_tiled((x - low) / (high - low)))
        return Shot(label, pixels, True, f"{len(x)} {what}, as images")
    if x.shape[1] >= CURVE_LENGTH:
        figure, kind = _curves(x, value_range(others)), "as curves"
    else:
        figure, kind = _points(x, value_range([y[:, :2] for y in others])), "as points"
        kind = kind if x.shape[1] > 1 else "as a histogram"
    return Shot(label, chart_uri(figure), False, f"{len(x)} {what}, {kind}")


def _tiled(x: Samples) -> Samples:
    """Images (n, H, W, ...) in rows of eight, white between them, values in [0, 1]."""
    columns = min(len(x), IMAGES_PER_ROW)
    strips = [strip_of(x[k : k + columns], columns) for k in range(0, len(x), columns)]
    gap = np.ones((1, *strips[0].shape[1:]), np.float32)
    tiles = np.concatenate([part for strip in strips for part in (strip, gap)])[:-1, :-1]
    tiled: Samples = np.nan_to_num(tiles, nan=1.0).clip(0, 1)
    return tiled


@in_house_style
def _curves(x: Samples, limits: tuple[float, float]) -> Figure:
    """Curves (n, D) in rows of four."""
    rows = -(-len(x) // CURVES_PER_ROW)
    figure = Figure(figsize=(PANEL[0], max(0.55 * rows, 1.2)), layout="constrained")
    grid = figure.subplots(rows, CURVES_PER_ROW, sharex=True, sharey=True, squeeze=False)
    for k, axes in enumerate(grid.flat):
        if k < len(x):
            axes.plot(np.linspace(0, 1, x.shape[1]), x[k], color=TUNED, linewidth=0.6)
        axes.set(xticks=[], ylim=limits)
        axes.tick_params(labelsize=6)
    return figure


@in_house_style
def _points(x: Samples, limits: tuple[float, float]) -> Figure:
    """Vectors (n, D) by their first two coordinates, or a histogram of one."""
    figure = Figure(figsize=PANEL, layout="constrained")
    axes = figure.subplots()
    if x.shape[1] >= 2:
        axes.axhline(0, color=MUTED, linewidth=0.5)
        axes.axvline(0, color=MUTED, linewidth=0.5)
        axes.scatter(x[:, 0], x[:, 1], s=9, color=TUNED, alpha=0.6, linewidths=0)
        axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
        return figure
    finite = x[np.isfinite(x)]
    if len(finite):
        axes.hist(finite, bins=20, range=limits, density=True, color=TUNED)
    axes.set(xlim=limits, xlabel="$x_1$", ylabel="density")
    return figure
