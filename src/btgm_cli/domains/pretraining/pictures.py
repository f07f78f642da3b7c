"""Pictures of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from btgm_cli.store.files import replacing


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
    write_picture(figure, path)


def write_picture(figure: Figure, path: Path) -> None:
    """Write a PNG file."""
    with replacing(path) as temporary:
        figure.savefig(temporary)
