"""Labels beside points that cover neither each other nor the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from btgm_cli.report.style import MUTED, SMALL, Array

# Directions to try, best first, and distances in points; a far label is tied to its point.
DIRECTIONS = np.array(
    [[1, -1], [-1, 1], [1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]], dtype=np.float64
)
DISTANCES = (4.0, 8.0, 16.0, 26.0, 38.0)
TIED_FROM = 16.0
MARKER = 2.5  # radius of a marker, in points


@dataclass(frozen=True)
class Place:
    """A box for a label, in pixels, and the one that it keeps free around itself.

    `tied` where it is too far from its point to be read with it.
    """

    box: Bbox
    around: Bbox
    tied: bool


def label_points(axes: Axes, points: Array, texts: Sequence[str], obstacles: Array) -> None:
    """Write each text beside its point, the last first; one that finds no free place is left out.

    Args:
        axes: The axes, with all data drawn: their limits are final after this.
        points: Points to label, shape (n, 2), in data units.
        texts: n labels.
        obstacles: Points not to be covered, shape (m, 2), in data units.
    """
    figure = axes.get_figure(root=True)
    if figure is None or not len(points):
        return
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    blocked = axes.transData.transform(obstacles[np.isfinite(obstacles).all(axis=1)])
    taken: list[Bbox] = []
    for point, text in reversed([*zip(axes.transData.transform(points), texts, strict=True)]):
        for place in _places(axes, point, text):
            if not _hits(place.box, taken) and not place.around.count_contains(blocked):
                taken.append(place.box)
                _write(axes, place, point, text)
                break


def polyline(x: Array, y: Array, steps: int = 8) -> Array:
    """Points along the line through (x, y), shape (m, 2), `steps` from each to the next."""
    if len(x) < 2:
        return np.column_stack([x, y])
    at = np.arange(0, len(x) - 1 + 0.5 / steps, 1 / steps)
    knots = np.arange(len(x))
    return np.column_stack([np.interp(at, knots, x), np.interp(at, knots, y)])


def _places(axes: Axes, point: Array, text: str) -> Iterator[Place]:
    """Places around `point` (pixels) that hold the text and lie inside the axes, nearest first."""
    probe = axes.text(0, 0, text, fontsize=SMALL)
    size = np.array(probe.get_window_extent().size)
    probe.remove()
    frame = axes.get_window_extent()
    pixel = axes.figure.dpi / 72
    for distance in DISTANCES:
        for way in DIRECTIONS:
            centre = point + way * (size / 2 + distance * pixel)
            box = Bbox([centre - size / 2, centre + size / 2])
            if frame.contains(*box.min) and frame.contains(*box.max):
                yield Place(box, box.padded(MARKER * pixel), tied=distance >= TIED_FROM)


def _hits(box: Bbox, taken: list[Bbox]) -> bool:
    return any(box.overlaps(other) for other in taken)


def _write(axes: Axes, place: Place, point: Array, text: str) -> None:
    to_data = axes.transData.inverted().transform
    x, y = to_data(place.box.min)
    axes.text(x, y, text, fontsize=SMALL, color=MUTED, va="bottom", zorder=5)
    if place.tied:
        edge = np.clip(point, place.box.min, place.box.max)
        ends = to_data([point, edge])
        axes.plot(ends[:, 0], ends[:, 1], color=MUTED, linewidth=0.4, zorder=2)
