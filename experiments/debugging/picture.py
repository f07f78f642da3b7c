"""The picture of the page: rows of draws with the two classes between which they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.debugging.opinions import Opinions
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from btgm_cli.report.strips import strip_of
from btgm_cli.report.style import MUTED, SMALL, TITLE, TUNED, in_house_style

COLUMNS = 14
NAMES = {"none": "p", "entropy": "entropy", "second_class": "second class"}


@dataclass(frozen=True)
class Shown:
    """Draws of one tilt.

    Attributes:
        criterion: what was favoured.
        beta: how much.
        x: images (n, H, W) in [0, 1].
        opinions: of them.
    """

    criterion: str
    beta: float
    x: Tensor
    opinions: Opinions


@in_house_style
def picture(rows: Sequence[Shown]) -> Figure:
    """A row for each tilt; under each image its first and second class.

    In colour where another classifier finds another class.
    """
    figure = Figure(figsize=(7.2, 0.66 * len(rows) + 0.3), layout="constrained")
    panels = figure.subplots(len(rows), 1)
    for axes, row in zip(panels, rows, strict=True):
        _draw(axes, row)
    text = "first and second class; in colour where a classifier of another seed finds another"
    figure.suptitle(text, x=0.01, ha="left", fontsize=TITLE)
    return figure


def _draw(axes: Axes, row: Shown) -> None:
    height, width = row.x.shape[1:]
    strip = strip_of(row.x[:COLUMNS].numpy(), COLUMNS)
    axes.imshow(strip, cmap="gray", vmin=0, vmax=1, interpolation="none")
    best = row.opinions.own[:COLUMNS].topk(2, 1)
    differ = row.opinions.disputed[:, :COLUMNS].any(0)
    for index, ((one, other), disputed) in enumerate(
        zip(best.indices.tolist(), differ.tolist(), strict=True)
    ):
        at = index * (width + 1) + width / 2
        look: dict[str, Any] = {"color": TUNED if disputed else MUTED, "ha": "center", "va": "top"}
        axes.text(at, height + 1, f"{one} | {other}", fontsize=SMALL, **look)
    label = NAMES[row.criterion] + (f"\nβ = {row.beta:g}" if row.beta else "")
    axes.set_yticks([height / 2], [label], fontsize=SMALL)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
