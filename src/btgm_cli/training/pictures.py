"""Pictures of a training: its losses, and a grid of what it makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from btgm_cli.files import replacing


def draw_losses(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw every loss of `history` against its step, into a PNG file."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    steps = [entry["step"] for entry in history]
    for name in [key for key in (history[0] if history else {}) if key != "step"]:
        axes.plot(steps, [entry[name] for entry in history], label=name, linewidth=0.8)
    axes.set(xlabel="step", ylabel="loss")
    if history:
        axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    _write(figure, path)


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
    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary)
