"""Pictures of digits for whoever judges a training."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from btgm_cli.domains.pretraining.pictures import write_picture


def draw_grid(images: Tensor, path: Path, columns: int = 16) -> None:
    """Draw images (n, 1, h, w) in [0, 1] in rows of `columns`, into a PNG file.

    n must be a multiple of `columns`.
    """
    rows = images.squeeze(1).unflatten(0, (-1, columns))
    canvas = rows.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)
    height, width = canvas.shape
    figure = Figure(figsize=(width / 56, height / 56), dpi=112)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.imshow(canvas.numpy(), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    write_picture(figure, path)
