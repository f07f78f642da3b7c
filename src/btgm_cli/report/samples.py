"""`samples.png`: what the tuned model draws at each β."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from btgm_cli.report.panels import draw_panels
from btgm_cli.report.strips import CURVES_PER_ROW, IMAGES_PER_ROW, draw_curves, draw_images
from btgm_cli.report.style import beta_text, column, in_house_style, kl_text, title
from btgm_cli.store.runs import Run

Samples = list[NDArray[np.float32]]

# Vectors at least this long are drawn as curves, shorter ones as points in the plane.
CURVE_LENGTH = 16


@in_house_style
def samples_figure(run: Run) -> Figure:
    """One row or panel per β, drawn as the shape of x asks: images, curves or points."""
    labels = _labels(run)
    samples = [regular(x) for x in run.samples[: len(labels)]]
    shape = next((x.shape[1:] for x in samples if len(x)), (0,))
    samples = [x if x.shape[1:] == shape else np.empty((0, *shape), np.float32) for x in samples]
    missing = len(labels) - len(samples)
    samples += [np.empty((0, *shape), np.float32)] * missing
    return _draw(samples, labels, title(run.summary))


@in_house_style
def draws_figure(x: NDArray[np.float32], rows: int, heading: str) -> Figure:
    """The first of x (n, *X), in so many rows of images or curves, or one panel of points."""
    drawn = regular(x)
    if drawn.ndim == 2 and drawn.shape[1] < CURVE_LENGTH:
        return _draw([drawn], [""], heading)
    per_row = IMAGES_PER_ROW if drawn.ndim >= 3 else CURVES_PER_ROW
    parts = [drawn[k * per_row : (k + 1) * per_row] for k in range(rows)]
    parts = [part for part in parts if len(part)]
    return _draw(parts, [""] * len(parts), heading)


def _draw(samples: Samples, labels: list[str], heading: str) -> Figure:
    """Rows or panels, as the shape of x asks."""
    if samples[0].ndim >= 3:
        return draw_images(samples, labels, heading)
    if samples[0].shape[1] >= CURVE_LENGTH:
        return draw_curves(samples, labels, heading)
    return draw_panels(samples, labels, heading)


def _labels(run: Run) -> list[str]:
    """β and KL of each row, and its status where that is not ok."""
    status = run.pareto["status"].astype(str)
    rows = zip(column(run.pareto, "beta"), column(run.pareto, "kl"), status, strict=True)
    return [
        f"{beta_text(beta)}\n{kl_text(kl)}" + ("" if state == "ok" else f"\n{state}")
        for beta, kl, state in rows
    ]


def regular(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring x (n, *X) to images (n, H, W), colour images (n, H, W, 3) or vectors (n, D)."""
    if x.ndim == 4 and x.shape[1] == 3:
        return np.moveaxis(x, 1, -1)
    if x.ndim >= 3 and x.shape[1] == 1:
        return x[:, 0]
    if x.ndim == 3:
        return x
    return x.reshape(len(x), int(np.prod(x.shape[1:])))
