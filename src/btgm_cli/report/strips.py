"""Rows of images or curves, one row per β, its label at the left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from btgm_cli.report.style import MUTED, SMALL, TUNED

Samples = NDArray[np.float32]

IMAGES_PER_ROW = 16
CURVES_PER_ROW = 8

# In inches: the column of labels, the line of the title, and the gap between rows.
LABEL_WIDTH, TITLE_HEIGHT, ROW_GAP, MARGIN = 1.3, 0.3, 0.05, 0.08
TICK_WIDTH = 0.45


def draw_images(samples: Sequence[Samples], labels: Sequence[str], heading: str) -> Figure:
    """Images of shape (n, H, W) or (n, H, W, 3) for each label, all on one scale of grey."""
    height, width = samples[0].shape[1:3]
    columns = max([1, *(min(len(x), IMAGES_PER_ROW) for x in samples)])
    cell = 0.38 * float(np.clip(width / 28, 1, 2))
    figure, rows = _rows(labels, heading, columns * cell, cell * height / width)
    low, high = grey_scale(samples)
    for axes, x in zip(rows, samples, strict=True):
        if len(x):
            strip = strip_of((x[:columns] - low) / (high - low), columns)
            axes.imshow(strip, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        say_if_empty(axes, x)
    return figure


def draw_curves(samples: Sequence[Samples], labels: Sequence[str], heading: str) -> Figure:
    """Vectors of shape (n, D) for each label, side by side, all on one scale."""
    figure, rows = _rows(labels, heading, 6.0, 0.55, right=TICK_WIDTH)
    low, high = value_range(samples)
    for axes, x in zip(rows, samples, strict=True):
        for i, curve in enumerate(x[:CURVES_PER_ROW]):
            axes.plot(i + np.linspace(0.04, 0.96, len(curve)), curve, color=TUNED, linewidth=0.9)
        axes.set(xlim=(0, CURVES_PER_ROW), ylim=(low, high))
        axes.yaxis.tick_right()
        axes.yaxis.set_major_locator(MaxNLocator(3, prune="both"))
        say_if_empty(axes, x)
    return figure


def value_range(samples: Sequence[Samples]) -> tuple[float, float]:
    """A common range for all finite values, a little wider than they are."""
    finite = np.concatenate([x[np.isfinite(x)] for x in samples])
    if not len(finite):
        return -1.0, 1.0
    pad = 0.05 * float(np.ptp(finite)) or 1.0
    return float(finite.min()) - pad, float(finite.max()) + pad


def _rows(
    labels: Sequence[str], heading: str, width: float, height: float, right: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Empty axes of width by height inches under each other, with their labels and the title."""
    figure_width = max(LABEL_WIDTH + width + right + MARGIN, 4.2)
    figure_height = TITLE_HEIGHT + len(labels) * (height + ROW_GAP) + MARGIN
    figure = Figure(figsize=(figure_width, figure_height))
    rows = []
    for i, label in enumerate(labels):
        bottom = figure_height - TITLE_HEIGHT - (i + 1) * (height + ROW_GAP)
        box = np.array([LABEL_WIDTH, bottom, width, height])
        axes = figure.add_axes(tuple(box / np.tile([figure_width, figure_height], 2)))
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.text(
            -0.08 / width,
            0.5,
            label,
            transform=axes.transAxes,
            ha="right",
            va="center",
            fontsize=SMALL,
        )
        rows.append(axes)
    figure.text(MARGIN / figure_width, 1 - 0.1 / figure_height, heading, va="top")
    return figure, rows


def strip_of(x: Samples, columns: int) -> Samples:
    """Images (n, H, W, ...) in one row with gaps, (H, columns * (W + 1), ...); NaN is blank."""
    height, width = x.shape[1:3]
    strip = np.full((height, columns * (width + 1), *x.shape[3:]), np.nan, np.float32)
    for i, image in enumerate(x):
        strip[:, i * (width + 1) : (i + 1) * (width + 1) - 1] = image
    return strip if x.ndim == 3 else np.nan_to_num(strip, nan=1.0).clip(0, 1)


def grey_scale(samples: Sequence[Samples]) -> tuple[float, float]:
    """The values of black and white: (0, 1) or (-1, 1) where they hold all, else the extremes."""
    finite = np.concatenate([x[np.isfinite(x)] for x in samples])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if low >= -1 and high <= 1:
        return (0.0, 1.0) if low >= 0 else (-1.0, 1.0)
    return low, high


def say_if_empty(axes: Axes, x: Samples) -> None:
    """A row or panel without samples says so."""
    if not len(x):
        axes.text(0.5, 0.5, "no samples", transform=axes.transAxes, ha="center", color=MUTED)
