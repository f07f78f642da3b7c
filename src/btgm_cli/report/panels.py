"""Short vectors: one panel per β, all with the same axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btgm_cli.report.strips import Samples, say_if_empty, value_range
from btgm_cli.report.style import MUTED, SMALL, TITLE, TUNED

# In inches: the side of a panel, and the least width of all panels together.
PANEL, LEAST_WIDTH = 1.7, 3.4
MOST_COLUMNS = 4
BINS = 30


def draw_panels(samples: Sequence[Samples], labels: Sequence[str], heading: str) -> Figure:
    """Vectors (n, D) for each label: their first two coordinates, or a histogram if D = 1."""
    lines = math.ceil(len(labels) / MOST_COLUMNS)
    columns = math.ceil(len(labels) / lines)
    panel = max(PANEL, LEAST_WIDTH / columns)
    figure = Figure(figsize=(0.5 + panel * columns, 0.6 + 1.15 * panel * lines))
    figure.set_layout_engine("compressed")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    in_plane = samples[0].shape[1] >= 2
    limits = value_range([x[:, :2] for x in samples])
    for axes, x, label in zip(panels, samples, labels, strict=False):
        _scatter(axes, x, limits) if in_plane else _histogram(axes, x, limits)
        axes.set_title(label, fontsize=SMALL)
        say_if_empty(axes, x)
    for spare, above in zip(panels[len(labels) :], panels[len(labels) - columns :], strict=False):
        spare.remove()
        above.tick_params(labelbottom=True)
    figure.suptitle(heading, x=0.01, ha="left", fontsize=TITLE)
    figure.supxlabel("$x_1$", fontsize=TITLE)
    figure.supylabel("$x_2$" if in_plane else "density", fontsize=TITLE)
    return figure


def _scatter(axes: Axes, x: Samples, limits: tuple[float, float]) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.5)
    axes.axvline(0, color=MUTED, linewidth=0.5)
    axes.scatter(x[:, 0], x[:, 1], s=7, color=TUNED, alpha=0.6, linewidths=0)
    axes.set(xlim=limits, ylim=limits, aspect="equal")


def _histogram(axes: Axes, x: Samples, limits: tuple[float, float]) -> None:
    finite = x[np.isfinite(x)]
    if len(finite):
        axes.hist(finite, bins=BINS, range=limits, density=True, color=TUNED)
    axes.set_xlim(limits)
