"""Pictures of a density flow's training."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from btgm_cli.domains.pretraining.pictures import write_picture


def draw_configurations(real: Tensor, drawn: Tensor, path: Path) -> None:
    """Draw the first two coordinates of configurations (n, D): held out, and the flow's."""
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    both = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, x, title in zip(both, (real, drawn), ("held out", "flow"), strict=True):
        axes.scatter(*x[:, :2].T, s=2, alpha=0.4, linewidths=0, rasterized=True)
        axes.set(title=title, xlabel="first coordinate")
        axes.spines[["top", "right"]].set_visible(False)
    both[0].set_ylabel("second coordinate")
    write_picture(figure, path)
